#define _GNU_SOURCE
#include "CHarness.h"

#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

/// Datagrams a system call, and the room for each where it arrives.
enum { BATCH = 64, ROOM = 2048 };
/// How often the schedule is looked at, in nanoseconds.
static const long tick = 100000;
/// How many datagrams a sender may be behind its schedule: whoever had no processor for a while must not make up for it
/// by a burst that no queue can hold. A TUN device's holds 500.
static const double arrears = 128;

static long nanoseconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000L + time.tv_nsec;
}

static void sleep_for(long duration) {
  clock_nanosleep(CLOCK_MONOTONIC, 0,
                  &(struct timespec){.tv_sec = duration / 1000000000L, .tv_nsec = duration % 1000000000L}, NULL);
}

void harness_send_load(struct harness_load *load) {
  static __thread char payload[65536];
  for (int i = 0; i < load->run; i++) memcpy(payload + (size_t)i * load->size, &load->trial, sizeof load->trial);
  struct iovec content = {payload, load->size * (size_t)load->run};
  struct mmsghdr messages[BATCH];
  memset(messages, 0, sizeof messages);
  for (int i = 0; i < BATCH; i++) {
    messages[i].msg_hdr.msg_iov = &content;
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  // Else each sleep is 50 microseconds longer.
  prctl(PR_SET_TIMERSLACK, 1);
  const long start = nanoseconds(), end = start + load->duration;
  // Of a message, which is a datagram or a run of them.
  const double interval = 1e9 * load->run / load->rate, most = arrears / load->run * interval;
  double due = (double)start;
  long now;
  while ((now = nanoseconds()) < end) {
    if ((double)now < due) {
      sleep_for(tick);
      continue;
    }
    if ((double)now - due > most) due = (double)now - most;
    double ready = ((double)now - due) / interval + 1;
    int sent = sendmmsg(load->socket, messages, ready < BATCH ? (unsigned)ready : BATCH, 0);
    // What the system would not take was not sent; the pace goes on.
    if (sent > 0) load->sent += sent * load->run;
    due += interval * (sent > 0 ? sent : 1);
  }
  load->elapsed = nanoseconds() - start;
}

void harness_count_load(struct harness_count *count) {
  static __thread char rooms[BATCH][ROOM];
  struct iovec contents[BATCH];
  struct mmsghdr messages[BATCH];
  memset(messages, 0, sizeof messages);
  for (int i = 0; i < BATCH; i++) {
    contents[i] = (struct iovec){rooms[i], ROOM};
    messages[i].msg_hdr.msg_iov = &contents[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  while (!__atomic_load_n(&count->stops, __ATOMIC_RELAXED)) {
    struct pollfd question = {.fd = count->socket, .events = POLLIN};
    if (poll(&question, 1, 20) <= 0) continue;
    int arrived = recvmmsg(count->socket, messages, BATCH, MSG_DONTWAIT, NULL);
    long own = 0;
    for (int i = 0; i < arrived; i++)
      own += messages[i].msg_len == count->size && memcmp(rooms[i], &count->trial, sizeof count->trial) == 0;
    __atomic_add_fetch(&count->received, own, __ATOMIC_RELAXED);
  }
}

long harness_received(struct harness_count *count) { return __atomic_load_n(&count->received, __ATOMIC_RELAXED); }
void harness_stop_counting(struct harness_count *count) { __atomic_store_n(&count->stops, 1, __ATOMIC_RELAXED); }

int harness_round_trips(int socket, int is_ipv6, int count, long interval, long patience, double *milliseconds) {
  // Type and code, checksum and identity (both the kernel's on such a socket), the number; then what ping sends as well.
  unsigned char request[64] = {is_ipv6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO}, answer[128];
  int answered = 0;
  prctl(PR_SET_TIMERSLACK, 1);
  for (int number = 0; number < count; number++) {
    request[6] = (unsigned char)(number >> 8);
    request[7] = (unsigned char)number;
    const long start = nanoseconds(), end = start + patience;
    if (send(socket, request, sizeof request, 0) < 0) continue;
    for (long now = start; now < end; now = nanoseconds()) {
      struct pollfd question = {.fd = socket, .events = POLLIN};
      if (poll(&question, 1, (int)((end - now) / 1000000) + 1) <= 0) break;
      if (recv(socket, answer, sizeof answer, 0) >= 8 && answer[6] == request[6] && answer[7] == request[7]) {
        milliseconds[answered++] = (double)(nanoseconds() - start) / 1e6;
        break;
      }
    }
    const long rest = start + interval - nanoseconds();
    if (rest > 0) sleep_for(rest);
  }
  return answered;
}
