#define _GNU_SOURCE
#include "CHarness.h"

#include <sched.h>
#include <stddef.h>
#include <sys/mount.h>

int harness_enter_network_namespace(int descriptor) {
  return setns(descriptor, CLONE_NEWNET);
}

int harness_leave_machine(void) {
  if (unshare(CLONE_NEWNET | CLONE_NEWNS) != 0) return -1;
  return mount("", "/", NULL, MS_PRIVATE | MS_REC, NULL);
}

int harness_mount_memory(const char *directory, const char *options) {
  return mount("wg6", directory, "tmpfs", MS_NOSUID | MS_NODEV, options);
}
