#pragma once

#include <stdint.h>

/// Opens the tree of control groups (cgroup v2), wherever it is mounted, or if it is not. Returns a descriptor or -errno:
/// -ENODEV where the kernel has no such groups, -ENOSYS before Linux 5.2.
int linux_open_control_groups(void);

/// Has the kernel give `mark` to each socket that is made in the group from now on. Replaces what a former call said for
/// it; ends with the group. Returns 0 or -errno.
int linux_mark_sockets_of_group(int group, uint32_t mark);

/// Gives this process mounts of its own: those of the machine, and what it mounts itself, which nobody else sees.
/// Returns 0 or -errno.
int linux_own_mounts(void);

/// Mounts an empty file system in memory over the directory, readable for everybody. Returns 0 or -errno.
int linux_mount_memory(const char *directory);

/// Puts the file at `source` in the place of the one at `target`. Returns 0 or -errno.
int linux_mount_file(const char *source, const char *target);

/// Takes away what was mounted last at `place`; what is in use of it stays in use. Returns 0 or -errno.
int linux_unmount(const char *place);

/// Becomes a user, with all groups of theirs. Returns 0 or -errno.
int linux_become(const char *name, uint32_t user, uint32_t group);
