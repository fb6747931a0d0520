#define _GNU_SOURCE
#include "library.h"

#ifdef HAS_VECTOR_LIBRARY

#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

// Gives back the pages of one library's code.
static int drop(struct dl_phdr_info *object, size_t size, void *context) {
  const struct link_map *library = context;
  if (object->dlpi_addr != library->l_addr) return 0;
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  for (int i = 0; i < object->dlpi_phnum; i++) {
    const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
    if (segment->p_type != PT_LOAD || segment->p_flags != (PF_R | PF_X)) continue;
    uintptr_t start = (object->dlpi_addr + segment->p_vaddr) & ~(page - 1);
    madvise((void *)start, object->dlpi_addr + segment->p_vaddr + segment->p_memsz - start, MADV_DONTNEED);
  }
  return 1;
}

void drop_pages(const struct link_map *library) {
  // Code that was relocated is not the file's any more, and would be lost.
  for (const ElfW(Dyn) *entry = library->l_ld; entry->d_tag != DT_NULL; entry++) {
    if (entry->d_tag == DT_TEXTREL || (entry->d_tag == DT_FLAGS && entry->d_un.d_val & DF_TEXTREL)) return;
  }
  dl_iterate_phdr(drop, (void *)library);
}

#endif
