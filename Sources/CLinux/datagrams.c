#define _GNU_SOURCE
#include "datagrams.h"

#include "messages.h"

#include <errno.h>
#include <linux/errqueue.h>
#include <netinet/udp.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int linux_udp_socket(int is_ipv6) {
  int descriptor = socket(is_ipv6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP);
  if (descriptor < 0) return -errno;
  const int on = 1, megabytes = 7 << 20, omit = IP_PMTUDISC_OMIT;
  int result;
  if (is_ipv6) {
    result = setsockopt(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on)
        | setsockopt(descriptor, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on)
        | setsockopt(descriptor, IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof on);
  } else {
    // Without DF, as the kernel's WireGuard sends, and past what "fragmentation needed" claims of the path: anyone can
    // forge that, and the kernel would send pieces of 552 bytes for ten minutes. Routers fragment where they must.
    result = setsockopt(descriptor, IPPROTO_IP, IP_PKTINFO, &on, sizeof on)
        | setsockopt(descriptor, IPPROTO_IP, IP_RECVERR, &on, sizeof on)
        | setsockopt(descriptor, IPPROTO_IP, IP_MTU_DISCOVER, &omit, sizeof omit);
  }
  if (result != 0) {
    int error = errno;
    close(descriptor);
    return -error;
  }
  // Larger than the system's limit where we may; the plain form, which is capped, where we may not.
  if (setsockopt(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, &megabytes, sizeof megabytes) != 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &megabytes, sizeof megabytes);
  if (setsockopt(descriptor, SOL_SOCKET, SO_SNDBUFFORCE, &megabytes, sizeof megabytes) != 0)
    setsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &megabytes, sizeof megabytes);
  return descriptor;
}

int linux_bind(int descriptor, int is_ipv6, uint16_t port) {
  union address address;
  memset(&address, 0, sizeof address);
  socklen_t length = is_ipv6 ? sizeof address.v6 : sizeof address.v4;
  if (is_ipv6) {
    address.v6.sin6_family = AF_INET6;
    address.v6.sin6_port = htons(port);
  } else {
    address.v4.sin_family = AF_INET;
    address.v4.sin_port = htons(port);
  }
  if (bind(descriptor, &address.any, length) != 0) return -errno;
  if (getsockname(descriptor, &address.any, &length) != 0) return -errno;
  return ntohs(is_ipv6 ? address.v6.sin6_port : address.v4.sin_port);
}

int linux_merge_received(int descriptor) {
  const int on = 1;
  return setsockopt(descriptor, IPPROTO_UDP, UDP_GRO, &on, sizeof on) == 0 ? 0 : -errno;
}

int linux_knows_segments(int descriptor) {
  int size;
  socklen_t length = sizeof size;
  return getsockopt(descriptor, IPPROTO_UDP, UDP_SEGMENT, &size, &length) == 0;
}

int linux_set_mark(int descriptor, uint32_t mark) {
  return setsockopt(descriptor, SOL_SOCKET, SO_MARK, &mark, sizeof mark) == 0 ? 0 : -errno;
}

static void read_remote(struct linux_path *path, int is_ipv6, const union address *address) {
  memset(path, 0, sizeof *path);
  if (is_ipv6) {
    memcpy(path->remote, &address->v6.sin6_addr, 16);
    path->port = ntohs(address->v6.sin6_port);
    path->zone = address->v6.sin6_scope_id;
  } else {
    memcpy(path->remote, &address->v4.sin_addr, 4);
    path->port = ntohs(address->v4.sin_port);
  }
}

/// Where a datagram came from and was sent to, and the size of its segments.
static void read_control(struct linux_datagram *datagram, int is_ipv6, struct msghdr *message) {
  struct linux_path *path = &datagram->path;
  datagram->segment_size = 0;
  for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
    if (!is_ipv6 && c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
      struct in_pktinfo info;
      memcpy(&info, CMSG_DATA(c), sizeof info);
      memcpy(path->local, &info.ipi_spec_dst, 4);
      path->local_interface = (uint32_t)info.ipi_ifindex;
      path->has_local = 1;
    } else if (is_ipv6 && c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
      struct in6_pktinfo info;
      memcpy(&info, CMSG_DATA(c), sizeof info);
      memcpy(path->local, &info.ipi6_addr, 16);
      path->local_interface = (uint32_t)info.ipi6_ifindex;
      path->has_local = 1;
    } else if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
      int size;
      memcpy(&size, CMSG_DATA(c), sizeof size);
      datagram->segment_size = (uint32_t)size;
    }
  }
}

int linux_receive(int descriptor, int is_ipv6, struct linux_datagram *datagrams, int count) {
  struct mmsghdr messages[LINUX_BATCH];
  struct iovec buffers[LINUX_BATCH];
  union address sources[LINUX_BATCH];
  union control controls[LINUX_BATCH];
  if (count > LINUX_BATCH) count = LINUX_BATCH;
  for (int i = 0; i < count; i++) {
    buffers[i] = (struct iovec){datagrams[i].buffer, datagrams[i].capacity};
    // Reset for every call: the kernel shortens the lengths.
    messages[i].msg_hdr = (struct msghdr){
        .msg_name = &sources[i], .msg_namelen = sizeof sources[i], .msg_iov = &buffers[i], .msg_iovlen = 1,
        .msg_control = &controls[i], .msg_controllen = sizeof controls[i]};
  }
  int received = recvmmsg(descriptor, messages, (unsigned)count, MSG_DONTWAIT, NULL);
  if (received < 0) return -errno;
  for (int i = 0; i < received; i++) {
    datagrams[i].length = messages[i].msg_len;
    // With control messages cut off, nobody knows where one datagram ends and the next begins.
    datagrams[i].is_truncated = (messages[i].msg_hdr.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
    read_remote(&datagrams[i].path, is_ipv6, &sources[i]);
    read_control(&datagrams[i], is_ipv6, &messages[i].msg_hdr);
  }
  return received;
}

int linux_next_refusal(int descriptor, int is_ipv6, struct linux_path *path) {
  union address destination;
  // Room for the error and for the address of whoever reported it.
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(struct sock_extended_err) + sizeof(struct sockaddr_in6))
        + CMSG_SPACE(sizeof(struct in6_pktinfo))];
  } control;
  struct msghdr message = {
      .msg_name = &destination, .msg_namelen = sizeof destination, .msg_control = &control,
      .msg_controllen = sizeof control};
  memset(&destination, 0, sizeof destination);
  if (recvmsg(descriptor, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) return -errno;
  for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c != NULL; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != (is_ipv6 ? IPPROTO_IPV6 : IPPROTO_IP) || c->cmsg_type != (is_ipv6 ? IPV6_RECVERR : IP_RECVERR))
      continue;
    struct sock_extended_err error;
    memcpy(&error, CMSG_DATA(c), sizeof error);
    read_remote(path, is_ipv6, &destination);
    // "Too big" is no refusal: the kernel has learnt the size, and fragments.
    return error.ee_origin == (is_ipv6 ? SO_EE_ORIGIN_ICMP6 : SO_EE_ORIGIN_ICMP) && error.ee_errno != EMSGSIZE;
  }
  return 0;
}
