#define _GNU_SOURCE
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/utsname.h>
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
