#define _GNU_SOURCE
#include "datagrams.h"
#include "messages.h"

#include <errno.h>
#include <netinet/udp.h>
#include <string.h>

/// What all messages to one path have in common: where to, and the control message that says where from.
struct envelope {
  union address address;
  socklen_t address_length;
  size_t control_length;
  union control control;
};

/// Writes a control message behind the `length` bytes that are there. Returns the length with it.
static size_t add_control(union control *control, size_t length, int level, int type, const void *data, size_t count) {
  struct cmsghdr *header = (struct cmsghdr *)((char *)control + length);
  memset(header, 0, CMSG_SPACE(count));
  header->cmsg_level = level;
  header->cmsg_type = type;
  header->cmsg_len = CMSG_LEN(count);
  memcpy(CMSG_DATA(header), data, count);
  return length + CMSG_SPACE(count);
}

static void address_v4(struct envelope *envelope, const struct linux_path *path) {
  envelope->address.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(path->port)};
  memcpy(&envelope->address.v4.sin_addr, path->remote, 4);
  envelope->address_length = sizeof envelope->address.v4;
  if (!path->has_local) return;
  struct in_pktinfo info = {0};
  memcpy(&info.ipi_spec_dst, path->local, 4);
  envelope->control_length = add_control(&envelope->control, 0, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
}

static void address_v6(struct envelope *envelope, const struct linux_path *path) {
  envelope->address.v6 = (struct sockaddr_in6){
      .sin6_family = AF_INET6, .sin6_port = htons(path->port), .sin6_scope_id = path->zone};
  memcpy(&envelope->address.v6.sin6_addr, path->remote, 16);
  envelope->address_length = sizeof envelope->address.v6;
  if (!path->has_local) return;
  struct in6_pktinfo info = {.ipi6_ifindex = path->zone};
  memcpy(&info.ipi6_addr, path->local, 16);
  // A link-local address means nothing without its interface.
  if (info.ipi6_ifindex == 0 && IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr)) info.ipi6_ifindex = path->local_interface;
  envelope->control_length = add_control(&envelope->control, 0, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
}

int linux_send(int descriptor, int is_ipv6, const struct linux_path *path, const struct linux_run *runs, int count) {
  struct envelope envelope;
  struct mmsghdr messages[LINUX_BATCH];
  struct iovec buffers[LINUX_BATCH];
  union control controls[LINUX_BATCH];
  envelope.control_length = 0;
  if (is_ipv6) {
    address_v6(&envelope, path);
  } else {
    address_v4(&envelope, path);
  }
  if (count > LINUX_BATCH) count = LINUX_BATCH;
  for (int i = 0; i < count; i++) {
    buffers[i] = (struct iovec){runs[i].base, runs[i].byte_count};
    messages[i].msg_hdr = (struct msghdr){
        .msg_name = &envelope.address, .msg_namelen = envelope.address_length, .msg_iov = &buffers[i], .msg_iovlen = 1,
        .msg_control = &envelope.control, .msg_controllen = envelope.control_length};
    if (runs[i].byte_count <= runs[i].segment_size) continue;
    // Sizes differ: such a message needs control messages of its own.
    const uint16_t size = (uint16_t)runs[i].segment_size;
    memcpy(&controls[i], &envelope.control, envelope.control_length);
    messages[i].msg_hdr.msg_control = &controls[i];
    messages[i].msg_hdr.msg_controllen =
        add_control(&controls[i], envelope.control_length, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof size);
  }
  if (count == 1) return sendmsg(descriptor, &messages[0].msg_hdr, 0) < 0 ? -errno : 1;
  int sent = sendmmsg(descriptor, messages, (unsigned)count, 0);
  return sent < 0 ? -errno : sent;
}

int linux_send_singly(int descriptor, int is_ipv6, const struct linux_path *path, const struct linux_run *run) {
  struct linux_run singles[LINUX_BATCH];
  int count = 0;
  for (uint32_t start = 0; start < run->byte_count && count < LINUX_BATCH; start += run->segment_size, count++) {
    const uint32_t rest = run->byte_count - start;
    const uint32_t length = rest < run->segment_size ? rest : run->segment_size;
    singles[count] = (struct linux_run){(char *)run->base + start, length, length};
  }
  return linux_send(descriptor, is_ipv6, path, singles, count);
}
