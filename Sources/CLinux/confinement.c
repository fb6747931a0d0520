#define _GNU_SOURCE
#include "confinement.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/bpf.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

// <linux/mount.h>, which can't be had together with <sys/mount.h>.
#define OPEN_CLOSE_ON_EXEC 1u
#define CONFIGURE_CREATE 6u

int linux_open_control_groups(void) {
  int context = (int)syscall(SYS_fsopen, "cgroup2", OPEN_CLOSE_ON_EXEC);
  if (context < 0) return -errno;
  int result = (int)syscall(SYS_fsconfig, context, CONFIGURE_CREATE, NULL, NULL, 0);
  if (result == 0) result = (int)syscall(SYS_fsmount, context, OPEN_CLOSE_ON_EXEC, 0);
  if (result < 0) result = -errno;
  close(context);
  return result;
}

int linux_mark_sockets_of_group(int group, uint32_t mark) {
  // sock->mark = mark; return 1;
  const struct bpf_insn program[] = {
      {.code = BPF_ALU | BPF_MOV | BPF_K, .dst_reg = BPF_REG_2, .imm = (int32_t)mark},
      {.code = BPF_STX | BPF_MEM | BPF_W,
       .dst_reg = BPF_REG_1,
       .src_reg = BPF_REG_2,
       .off = offsetof(struct bpf_sock, mark)},
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 1},
      {.code = BPF_JMP | BPF_EXIT},
  };
  union bpf_attr request;
  memset(&request, 0, sizeof request);
  request.prog_type = BPF_PROG_TYPE_CGROUP_SOCK;
  request.expected_attach_type = BPF_CGROUP_INET_SOCK_CREATE;
  request.insns = (uintptr_t)program;
  request.insn_cnt = sizeof program / sizeof *program;
  request.license = (uintptr_t) "";
  int loaded = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &request, sizeof request);
  if (loaded < 0) return -errno;

  memset(&request, 0, sizeof request);
  request.target_fd = (uint32_t)group;
  request.attach_bpf_fd = (uint32_t)loaded;
  request.attach_type = BPF_CGROUP_INET_SOCK_CREATE;
  int result = syscall(SYS_bpf, BPF_PROG_ATTACH, &request, sizeof request) == 0 ? 0 : -errno;
  close(loaded);
  return result;
}

int linux_own_mounts(void) {
  if (unshare(CLONE_NEWNS) != 0) return -errno;
  // What the machine mounts from now on arrives here; what is mounted here stays here.
  return mount("", "/", NULL, MS_SLAVE | MS_REC, NULL) == 0 ? 0 : -errno;
}

int linux_mount_memory(const char *directory) {
  return mount("wg6", directory, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0755,size=1m") == 0 ? 0 : -errno;
}

int linux_mount_file(const char *source, const char *target) {
  return mount(source, target, NULL, MS_BIND, NULL) == 0 ? 0 : -errno;
}

int linux_unmount(const char *place) { return umount2(place, MNT_DETACH) == 0 ? 0 : -errno; }

int linux_become(const char *name, uint32_t user, uint32_t group) {
  if (initgroups(name, group) != 0 || setgid(group) != 0 || setuid(user) != 0) return -errno;
  return 0;
}
