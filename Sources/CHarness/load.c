#define _GNU_SOURCE
#include "CHarness.h"

#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>
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

/// What of a flow's datagram is not zeros. A raw socket takes it with the UDP header, which the kernel doesn't look at.
struct flow_head {
  struct udphdr udp;
  unsigned long trial;
  long sent;
};

/// What the sum of a UDP datagram begins with.
struct pseudo_header {
  struct in_addr source, target;
  unsigned short protocol, length;
};

static unsigned add_words(unsigned sum, const void *bytes, size_t length) {
  for (size_t i = 0; i < length; i += 2) {
    unsigned short word;
    memcpy(&word, (const char *)bytes + i, sizeof word);
    sum += word;
  }
  return sum;
}

/// The datagram of that number, as it is sent now. Its checksum is whole, as one from a network has it.
static struct flow_head flow_head(const struct harness_load *load, struct sockaddr_in from, struct sockaddr_in to,
                                  size_t size, long number, long now) {
  const unsigned short length = htons((unsigned short)(sizeof(struct udphdr) + size));
  struct flow_head head = {.trial = load->trial, .sent = now};
  head.udp.source = htons((unsigned short)(10000 + number % load->flows));
  head.udp.dest = to.sin_port;
  head.udp.len = length;
  const struct pseudo_header pseudo = {from.sin_addr, to.sin_addr, htons(IPPROTO_UDP), length};
  unsigned sum = add_words(add_words(0, &pseudo, sizeof pseudo), &head, sizeof head);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  head.udp.check = sum == 0xffff ? 0xffff : (unsigned short)~sum;
  return head;
}

void harness_send_load(struct harness_load *load) {
  static __thread char payload[65536];
  memset(payload, 0, sizeof payload);
  const size_t size = load->sizes[0];
  for (int i = 0; i < load->run; i++) memcpy(payload + (size_t)i * size, &load->trial, sizeof load->trial);
  struct flow_head heads[BATCH];
  struct iovec contents[BATCH][2];
  struct mmsghdr messages[BATCH];
  memset(messages, 0, sizeof messages);
  for (int i = 0; i < BATCH; i++) {
    contents[i][0] = (struct iovec){payload, size * (size_t)load->run};
    if (load->flows > 0) contents[i][0] = (struct iovec){&heads[i], sizeof heads[i]};
    contents[i][1] = (struct iovec){payload + sizeof load->trial, 0};
    messages[i].msg_hdr.msg_iov = contents[i];
    messages[i].msg_hdr.msg_iovlen = load->flows > 0 ? 2 : 1;
  }
  struct sockaddr_in from = {0}, to = {0};
  getsockname(load->socket, (struct sockaddr *)&from, &(socklen_t){sizeof from});
  getpeername(load->socket, (struct sockaddr *)&to, &(socklen_t){sizeof to});
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
    const int count = ready < BATCH ? (int)ready : BATCH;
    for (int i = 0; i < count && load->flows > 0; i++) {
      const long number = load->sent + i;
      const size_t next = load->sizes[number % load->size_count];
      heads[i] = flow_head(load, from, to, next, number, now);
      contents[i][1].iov_len = next + sizeof(struct udphdr) - sizeof heads[i];
    }
    int sent = sendmmsg(load->socket, messages, (unsigned)count, 0);
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
    const long now = nanoseconds();
    long own = 0;
    for (int i = 0; i < arrived; i++) {
      if (count->size != 0 && messages[i].msg_len != count->size) continue;
      if (memcmp(rooms[i], &count->trial, sizeof count->trial) != 0) continue;
      long sent;
      memcpy(&sent, rooms[i] + sizeof count->trial, sizeof sent);
      if (count->received + own < count->delay_count)
        count->delays[count->received + own] = (double)(now - sent) / 1e6;
      own++;
    }
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
