#define _GNU_SOURCE
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

int linux_prevent_core_dumps(void) {
  const struct rlimit none = {0, 0};
  if (setrlimit(RLIMIT_CORE, &none) != 0) return -1;
  return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

void linux_name_thread(const char *name) { pthread_setname_np(pthread_self(), name); }

int linux_put_under(int descriptor, int number) {
  return dup3(descriptor, number, O_CLOEXEC) < 0 ? -errno : 0;
}

int linux_kernel_is_at_least(int major, int minor) {
  struct utsname names;
  int its_major, its_minor;
  if (uname(&names) != 0 || sscanf(names.release, "%d.%d", &its_major, &its_minor) != 2) return 0;
  return its_major > major || (its_major == major && its_minor >= minor);
}

int linux_accept(int listener) {
  const int descriptor = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  return descriptor < 0 ? -errno : descriptor;
}

unsigned long long linux_network_cookie(void) {
  // In the headers since Linux 5.14, and not in all of glibc's.
#ifndef SO_NETNS_COOKIE
  const int SO_NETNS_COOKIE = 71;
#endif
  unsigned long long cookie = 0;
  socklen_t size = sizeof cookie;
  const int any = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (any < 0) return 0;
  if (getsockopt(any, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) != 0 || size != sizeof cookie) cookie = 0;
  close(any);
  return cookie;
}

int linux_memory_file(void) {
  const int descriptor = memfd_create("wg6", MFD_CLOEXEC);
  return descriptor < 0 ? -errno : descriptor;
}

int linux_shared_memory(long size) {
  const int descriptor = memfd_create("wg6", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (descriptor < 0) return -errno;
  // The memory is allocated now, so that running out of it fails here and not in a thread that writes later.
  int error = ftruncate(descriptor, size) != 0 ? errno : 0;
  if (!error && fallocate(descriptor, 0, 0, size) != 0) error = errno;
  if (!error && fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) error = errno;
  if (!error) return descriptor;
  close(descriptor);
  return -error;
}

int linux_has_fixed_size(int descriptor) {
  const int seals = fcntl(descriptor, F_GET_SEALS);
  return seals >= 0 && (seals & F_SEAL_SHRINK);
}

long linux_peer_user(int connection) {
  struct ucred peer;
  socklen_t size = sizeof peer;
  return getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 ? -1 : (long)peer.uid;
}

long linux_send_descriptor(int connection, const void *bytes, size_t count, int descriptor) {
  struct iovec piece = {(void *)bytes, count};
  union {
    char room[CMSG_SPACE(sizeof descriptor)];
    struct cmsghdr header;
  } control = {{0}};
  struct msghdr message = {
      .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room};
  struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(sizeof descriptor);
  memcpy(CMSG_DATA(rights), &descriptor, sizeof descriptor);
  return sendmsg(connection, &message, MSG_NOSIGNAL);
}

long linux_receive_descriptor(int connection, void *bytes, size_t count, int *descriptor) {
  struct iovec piece = {bytes, count};
  union {
    char room[CMSG_SPACE(sizeof *descriptor)];
    struct cmsghdr header;
  } control;
  struct msghdr message = {
      .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room};
  *descriptor = -1;
  const ssize_t received = recvmsg(connection, &message, MSG_CMSG_CLOEXEC);
  if (received < 0) return -1;
  for (struct cmsghdr *part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const size_t held = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t index = 0; index < held; index++) {
      int one;
      memcpy(&one, CMSG_DATA(part) + index * sizeof one, sizeof one);
      if (*descriptor < 0) *descriptor = one; else close(one);
    }
  }
  return received;
}

int linux_process(int process) {
  const int descriptor = pidfd_open(process, 0);
  return descriptor < 0 ? -errno : descriptor;
}

int linux_signal_process(int descriptor, int signal) {
  return pidfd_send_signal(descriptor, signal, NULL, 0) != 0 ? -errno : 0;
}

int linux_peer_process(int connection) {
  struct ucred peer;
  socklen_t size = sizeof peer;
  return getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 ? 0 : peer.pid;
}

int linux_enter_network(int descriptor) { return setns(descriptor, CLONE_NEWNET) != 0 ? -errno : 0; }

int linux_stop_signal(int child) {
  siginfo_t information = {0};
  if (waitid(P_PID, child, &information, WSTOPPED | WNOHANG) != 0 || information.si_pid == 0) return 0;
  return information.si_status;
}

int linux_end_signal(int child) {
  siginfo_t information = {0};
  if (waitid(P_PID, child, &information, WEXITED | WNOHANG | WNOWAIT) != 0 || information.si_pid == 0) return 0;
  return information.si_code == CLD_EXITED ? 0 : information.si_status;
}

void linux_spawn_in_root(posix_spawn_file_actions_t *actions) { posix_spawn_file_actions_addchdir_np(actions, "/"); }

void linux_spawn_with_terminal(posix_spawn_file_actions_t *actions, int terminal) {
  posix_spawn_file_actions_addtcsetpgrp_np(actions, terminal);
}
