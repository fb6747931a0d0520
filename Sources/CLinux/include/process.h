#pragma once

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

/// A file without a name, in memory, close-on-exec. Returns a descriptor or -errno. A GNU extension.
int linux_memory_file(void);
