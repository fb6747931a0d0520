#define _GNU_SOURCE
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
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

int linux_memory_file(void) {
  const int descriptor = memfd_create("wg6", MFD_CLOEXEC);
  return descriptor < 0 ? -errno : descriptor;
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
