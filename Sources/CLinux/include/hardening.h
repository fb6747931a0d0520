#pragma once

/// Keeps this process's memory out of core dumps and out of other processes' reach (`ptrace`, `/proc/PID/mem`).
/// A C function because `prctl` is variadic, which Swift does not import. Returns 0, or -1 with `errno`.
int linux_prevent_core_dumps(void);
