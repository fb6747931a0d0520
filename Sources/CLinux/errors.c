#define _GNU_SOURCE
#include "errors.h"

#include <errno.h>
#include <linux/icmp.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int linux_error_socket(int is_ipv6) {
  int descriptor = socket(
      is_ipv6 ? AF_INET6 : AF_INET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, is_ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
  if (descriptor < 0) return -errno;
  // Nothing is read from it, so nothing is to wait there.
  const struct icmp_filter nothing = {.data = ~0u};
  struct icmp6_filter nothing6;
  ICMP6_FILTER_SETBLOCKALL(&nothing6);
  const int room = 0, precedence = 0xC0;
  setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
  int result = is_ipv6 ? setsockopt(descriptor, IPPROTO_ICMPV6, ICMP6_FILTER, &nothing6, sizeof nothing6)
                       : setsockopt(descriptor, SOL_RAW, ICMP_FILTER, &nothing, sizeof nothing);
  // "Internetwork control", RFC 1812 section 4.3.2.5.
  if (result == 0 && !is_ipv6) result = setsockopt(descriptor, IPPROTO_IP, IP_TOS, &precedence, sizeof precedence);
  if (result == 0) return descriptor;
  int error = errno;
  close(descriptor);
  return -error;
}
