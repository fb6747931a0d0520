// Counts calls of malloc and its relatives into a file that others can read while the program runs.
//
// LD_PRELOAD=libmalloc-counter.so WG6_MALLOC_COUNT=FILE program…
// FILE's first eight bytes are the count, this machine's byte order. Several programs may share one file.
#include "CMallocCounter.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

// The C library's own names for what stands behind ours.
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *block, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

static _Atomic unsigned long before_the_file_was_open;
static _Atomic unsigned long *calls = &before_the_file_was_open;

__attribute__((constructor)) static void open_the_file(void) {
  const char *path = getenv("WG6_MALLOC_COUNT");
  if (path == NULL) return;
  int descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (descriptor < 0) return;
  if (ftruncate(descriptor, sizeof *calls) == 0) {
    void *page = mmap(NULL, sizeof *calls, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (page != MAP_FAILED) calls = page;
  }
  close(descriptor);
}

unsigned long malloc_calls(void) { return atomic_load_explicit(calls, memory_order_relaxed); }

static void count(void) {
  atomic_fetch_add_explicit(calls, 1, memory_order_relaxed);
}

void *malloc(size_t size) {
  count();
  return __libc_malloc(size);
}

void *calloc(size_t number, size_t size) {
  count();
  return __libc_calloc(number, size);
}

void *realloc(void *block, size_t size) {
  count();
  return __libc_realloc(block, size);
}

void *memalign(size_t alignment, size_t size) {
  count();
  return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
  count();
  return __libc_memalign(alignment, size);
}

int posix_memalign(void **block, size_t alignment, size_t size) {
  count();
  *block = __libc_memalign(alignment, size);
  return *block == NULL ? ENOMEM : 0;
}
