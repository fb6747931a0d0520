#define _GNU_SOURCE
#include "interfaces.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/// One interface ioctl, over a socket that lives as long as the call.
static int interface_request(unsigned long number, const char *name, struct ifreq *request) {
  strncpy(request->ifr_name, name, IFNAMSIZ - 1);
  int descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  // A kernel without IPv4 has the same requests on IPv6 sockets.
  if (descriptor < 0) descriptor = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return -errno;
  int result = ioctl(descriptor, number, request) == 0 ? 0 : -errno;
  close(descriptor);
  return result;
}

int linux_interface_mtu(const char *name) {
  struct ifreq request = {0};
  int result = interface_request(SIOCGIFMTU, name, &request);
  return result < 0 ? result : request.ifr_mtu;
}

int linux_set_interface_mtu(const char *name, int mtu) {
  struct ifreq request = {.ifr_mtu = mtu};
  return interface_request(SIOCSIFMTU, name, &request);
}

int linux_interface_flags(const char *name) {
  struct ifreq request = {0};
  int result = interface_request(SIOCGIFFLAGS, name, &request);
  return result < 0 ? result : (unsigned short)request.ifr_flags;
}

int linux_link_monitor(void) {
  int descriptor = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (descriptor < 0) return -errno;
  struct sockaddr_nl address = {
      .nl_family = AF_NETLINK,
      .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE
          | RTMGRP_IPV4_RULE | 1u << (RTNLGRP_IPV6_RULE - 1)};
  if (bind(descriptor, (struct sockaddr *)&address, sizeof address) != 0) {
    int error = errno;
    close(descriptor);
    return -error;
  }
  return descriptor;
}

/// Whether a route leads through the interface `index`, as far as its message tells.
static int leads_through(const struct nlmsghdr *message, unsigned index) {
  int length = RTM_PAYLOAD(message);
  for (struct rtattr *a = RTM_RTA(NLMSG_DATA(message)); RTA_OK(a, length); a = RTA_NEXT(a, length)) {
    unsigned interface;
    if (a->rta_type == RTA_MULTIPATH || a->rta_type == RTA_NH_ID) return 1;
    if (a->rta_type != RTA_OIF || RTA_PAYLOAD(a) != sizeof interface) continue;
    memcpy(&interface, RTA_DATA(a), sizeof interface);
    if (interface == index) return 1;
  }
  return 0;
}

int linux_drain_monitor(int descriptor, unsigned index) {
  union {
    struct nlmsghdr header;
    char bytes[8192];
  } buffer;
  const int everything = LINUX_CHANGED_LINKS | LINUX_CHANGED_ROUTES | LINUX_CHANGED_OWN_ROUTES;
  int changed = 0;
  for (;;) {
    ssize_t count = recv(descriptor, &buffer, sizeof buffer, MSG_DONTWAIT | MSG_TRUNC);
    if (count < 0 && errno != ENOBUFS) return changed;
    if (count < 0 || (size_t)count > sizeof buffer) {
      changed = everything;
      continue;
    }
    int length = (int)count;
    for (struct nlmsghdr *m = &buffer.header; NLMSG_OK(m, length); m = NLMSG_NEXT(m, length)) {
      switch (m->nlmsg_type) {
        case RTM_NEWROUTE:
        case RTM_DELROUTE:
          changed |= LINUX_CHANGED_ROUTES;
          if (leads_through(m, index)) changed |= LINUX_CHANGED_OWN_ROUTES;
          break;
        case RTM_NEWRULE:
        case RTM_DELRULE:
          changed |= LINUX_CHANGED_ROUTES;
          break;
        default:
          // An interface that goes down takes its routes along, and says nothing of them.
          changed = everything;
          break;
      }
    }
  }
}
