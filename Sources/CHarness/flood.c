#define _GNU_SOURCE
#include "CHarness.h"

#include <netinet/ip.h>
#include <string.h>
#include <time.h>

#ifndef IPV6_TRANSPARENT
#define IPV6_TRANSPARENT 75
#endif

/// Datagrams a system call, and how often a second the schedule is looked at.
enum { BATCH = 64, TICKS = 1000 };

int harness_spoofing_socket(int is_ipv6) {
  int descriptor = socket(is_ipv6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const int on = 1, space = 8 << 20;
  if (descriptor < 0) return -1;
  if (setsockopt(descriptor, is_ipv6 ? IPPROTO_IPV6 : IPPROTO_IP, is_ipv6 ? IPV6_TRANSPARENT : IP_TRANSPARENT, &on,
                 sizeof on) != 0)
    return -1;
  setsockopt(descriptor, SOL_SOCKET, SO_SNDBUFFORCE, &space, sizeof space);
  return descriptor;
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

union control {
  struct cmsghdr header;
  char v4[CMSG_SPACE(sizeof(struct in_pktinfo))];
  char v6[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

static void set_source(struct msghdr *message, union control *control, const struct in6_addr *source, int is_ipv6) {
  memset(control, 0, sizeof *control);
  message->msg_control = control;
  if (is_ipv6) {
    struct in6_pktinfo info = {.ipi6_addr = *source};
    control->header = (struct cmsghdr){CMSG_LEN(sizeof info), IPPROTO_IPV6, IPV6_PKTINFO};
    memcpy(CMSG_DATA(&control->header), &info, sizeof info);
    message->msg_controllen = CMSG_SPACE(sizeof info);
  } else {
    struct in_pktinfo info = {0};
    memcpy(&info.ipi_spec_dst, source, 4);
    control->header = (struct cmsghdr){CMSG_LEN(sizeof info), IPPROTO_IP, IP_PKTINFO};
    memcpy(CMSG_DATA(&control->header), &info, sizeof info);
    message->msg_controllen = CMSG_SPACE(sizeof info);
  }
}

/// Sends the next `count` datagrams of the row in one call.
static void send_batch(struct harness_flood *flood, long next, int count) {
  struct mmsghdr messages[BATCH];
  union control controls[BATCH];
  memset(messages, 0, sizeof messages);
  for (int i = 0; i < count; i++) {
    struct msghdr *message = &messages[i].msg_hdr;
    message->msg_name = (void *)flood->target;
    message->msg_namelen = flood->target_length;
    message->msg_iov = (struct iovec *)&flood->datagrams[(next + i) % flood->datagram_count];
    message->msg_iovlen = 1;
    if (flood->source_count > 0)
      set_source(message, &controls[i], &flood->sources[(next + i) % flood->source_count],
                 flood->target->sa_family == AF_INET6);
  }
  int socket = flood->sockets[next / BATCH % flood->socket_count];
  int sent = sendmmsg(socket, messages, (unsigned)count, 0);
  long bytes = 0;
  for (int i = 0; i < sent; i++) bytes += messages[i].msg_len;
  if (sent > 0) __atomic_add_fetch(&flood->sent, sent, __ATOMIC_RELAXED);
  __atomic_add_fetch(&flood->bytes, bytes, __ATOMIC_RELAXED);
}

void harness_send_flood(struct harness_flood *flood) {
  const double start = now();
  long next = 0;
  while (!__atomic_load_n(&flood->stops, __ATOMIC_RELAXED) && (flood->limit == 0 || next < flood->limit)) {
    long due = (long)((now() - start) * (double)flood->rate);
    if (flood->limit > 0 && due > flood->limit) due = flood->limit;
    if (next >= due) {
      clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){.tv_nsec = 1000000000 / TICKS}, NULL);
      continue;
    }
    int count = due - next < BATCH ? (int)(due - next) : BATCH;
    send_batch(flood, next, count);
    next += count;
  }
}

void harness_stop(struct harness_flood *flood) { __atomic_store_n(&flood->stops, 1, __ATOMIC_RELAXED); }
long harness_sent(struct harness_flood *flood) { return __atomic_load_n(&flood->sent, __ATOMIC_RELAXED); }
long harness_sent_bytes(struct harness_flood *flood) { return __atomic_load_n(&flood->bytes, __ATOMIC_RELAXED); }
