#define _GNU_SOURCE
#include "CHarness.h"

#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

/// Questions a system call, and the longest answer.
enum { BATCH = 64, ROOM = 2048 };
/// How long a client waits for an answer before it asks again, in nanoseconds.
static const long patience = 500000000;

static long nanoseconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000L + time.tv_nsec;
}

static long ask(int socket, size_t size) {
  static const char question[ROOM];
  const long now = nanoseconds();
  send(socket, question, size, MSG_DONTWAIT);
  return now;
}

void harness_ask(struct harness_questions *questions) {
  const int count = questions->count;
  long asked[count];
  const int poller = epoll_create1(EPOLL_CLOEXEC);
  if (poller < 0) return;
  const long start = nanoseconds(), end = start + questions->duration;
  for (int i = 0; i < count; i++) {
    epoll_ctl(poller, EPOLL_CTL_ADD, questions->sockets[i], &(struct epoll_event){.events = EPOLLIN, .data.u32 = (unsigned)i});
    asked[i] = ask(questions->sockets[i], questions->size);
  }
  long looked = start, now;
  while ((now = nanoseconds()) < end) {
    struct epoll_event ready[BATCH];
    const int found = epoll_wait(poller, ready, BATCH, 20);
    for (int i = 0; i < found; i++) {
      const unsigned client = ready[i].data.u32;
      char answer[ROOM];
      if (recv(questions->sockets[client], answer, sizeof answer, MSG_DONTWAIT) < 0) continue;
      if (questions->answered < questions->delay_count)
        questions->delays[questions->answered] = (double)(nanoseconds() - asked[client]) / 1e6;
      questions->answered++;
      asked[client] = ask(questions->sockets[client], questions->size);
    }
    if (now - looked < patience / 10) continue;
    looked = now;
    for (int i = 0; i < count; i++) {
      if (now - asked[i] < patience) continue;
      questions->repeated++;
      asked[i] = ask(questions->sockets[i], questions->size);
    }
  }
  questions->elapsed = nanoseconds() - start;
  close(poller);
}

void harness_answer(struct harness_answers *answers) {
  // What is asked is all the same, and so is what is answered.
  char room[ROOM] = {0};
  struct sockaddr_storage askers[BATCH];
  struct iovec contents[BATCH];
  struct mmsghdr messages[BATCH];
  while (!__atomic_load_n(&answers->stops, __ATOMIC_RELAXED)) {
    struct pollfd question = {.fd = answers->socket, .events = POLLIN};
    if (poll(&question, 1, 20) <= 0) continue;
    memset(messages, 0, sizeof messages);
    for (int i = 0; i < BATCH; i++) {
      contents[i] = (struct iovec){room, ROOM};
      messages[i].msg_hdr = (struct msghdr){
          .msg_name = &askers[i], .msg_namelen = sizeof askers[i], .msg_iov = &contents[i], .msg_iovlen = 1};
    }
    const int asked = recvmmsg(answers->socket, messages, BATCH, MSG_DONTWAIT, NULL);
    for (int i = 0; i < asked; i++) contents[i].iov_len = answers->size;
    if (asked > 0) sendmmsg(answers->socket, messages, (unsigned)asked, MSG_DONTWAIT);
  }
}

void harness_stop_answering(struct harness_answers *answers) { __atomic_store_n(&answers->stops, 1, __ATOMIC_RELAXED); }
