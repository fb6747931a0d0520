#pragma once

#include <spawn.h>
#include <stddef.h>

/// Keeps this process's memory out of core dumps and out of other processes' reach (`ptrace`, `/proc/PID/mem`).
/// A C function because `prctl` is variadic, which Swift does not import. Returns 0, or -1 with `errno`.
int linux_prevent_core_dumps(void);

/// Names the calling thread, up to 15 bytes, for tools that list threads. A GNU extension, which Swift does not see.
void linux_name_thread(const char *name);

/// dup3 with O_CLOEXEC: puts `descriptor` under `number` as well, closing what was there. Returns 0 or -errno.
int linux_put_under(int descriptor, int number);

/// Whether the kernel is of version `major`.`minor` or later.
int linux_kernel_is_at_least(int major, int minor);

/// Gives back the memory that code takes which was used once, at the start: that of every library and of the program. The
/// kernel reads again from the files what is used again.
void linux_drop_code(void);

/// accept4 without the peer's address, non-blocking and close-on-exec from the start: a child that another thread starts at
/// this moment keeps no connection open. Returns a descriptor or -errno. A GNU extension.
int linux_accept(int listener);

/// The cookie of this thread's network namespace, which no other has until the machine restarts; 0 where the kernel has none
/// (SO_NETNS_COOKIE, Linux 5.14).
unsigned long long linux_network_cookie(void);

/// A descriptor of a process, close-on-exec, which is readable once the process has ended. Returns it or -errno. A GNU
/// extension, as the next three.
int linux_process(int process);

/// Sends a signal to the process of such a descriptor. Returns 0 or -errno.
int linux_signal_process(int descriptor, int signal);

/// The process that listens on the other end of a connected Unix socket, or connected it; 0 if it is not visible here.
int linux_peer_process(int connection);

/// Has the spawned program begin in the root directory.
void linux_spawn_in_root(posix_spawn_file_actions_t *actions);

/// Has the started program's process group become the foreground group of a terminal. A GNU extension, as the next four.
void linux_spawn_with_terminal(posix_spawn_file_actions_t *actions, int terminal);

/// The signal that stopped a child since this was last asked; 0 if it was not stopped, or has ended. In C because macros
/// hide the fields of siginfo_t.
int linux_stop_signal(int child);

/// The signal that ended a child, which can still be waited for; 0 if none did.
int linux_end_signal(int child);

/// Moves the calling thread into the network namespace of an open file. Returns 0 or -errno.
int linux_enter_network(int descriptor);

/// A file without a name, in memory, close-on-exec. Returns a descriptor or -errno. A GNU extension.
int linux_memory_file(void);

/// Memory that processes share by its descriptor: `size` zeroed bytes, allocated at once, whose size is sealed
/// (memfd with seals, fallocate). Returns a descriptor, close-on-exec, or -errno. A GNU extension, as the next four.
int linux_shared_memory(long size);

/// Whether the size of such memory is fixed, so that to read what is mapped of it ends in no SIGBUS.
int linux_has_fixed_size(int descriptor);

/// The user whose process is at the other end of a connected Unix socket; -1 where that is not known.
long linux_peer_user(int connection);

/// send with a descriptor beside the bytes, of which there is one at least. Returns bytes sent, or -1 with `errno`.
long linux_send_descriptor(int connection, const void *bytes, size_t count, int descriptor);

/// recv with what descriptor may come beside the bytes, close-on-exec: `*descriptor` is -1 where none has come. Others are
/// closed. Returns bytes received, or -1 with `errno`.
long linux_receive_descriptor(int connection, void *bytes, size_t count, int *descriptor);
