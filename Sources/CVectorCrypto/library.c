#define _GNU_SOURCE
#include "library.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#ifdef HAS_VECTOR_LIBRARY

#define TEXT_OF(x) #x
#define SONAME(major) "libIPSec_MB.so." TEXT_OF(major)

// The number at the end of the library's name is its major version; the preprocessor can't compute the text of it.
#if IMB_VERSION_NUM >> 16 == 1
#define LIBRARY SONAME(1)
#elif IMB_VERSION_NUM >> 16 == 2
#define LIBRARY SONAME(2)
#else
#error "This ipsec-mb is newer than what CVectorCrypto knows"
#endif

static struct {
  IMB_MGR *(*allocate)(uint64_t flags);
  void (*initialize)(IMB_MGR *manager, IMB_ARCH *architecture);
  void (*release)(IMB_MGR *manager);
} library;

const char *vector_load(const char *name) {
  static char problem[160];
  if (!name) name = LIBRARY;
  void *handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    const char *reason = dlerror();
    if (reason && !strstr(reason, "No such file")) return reason;
    snprintf(problem, sizeof problem, "%s is not installed", name);
    return problem;
  }
  unsigned (*version)(void) = (unsigned (*)(void))dlsym(handle, "imb_get_version");
  size_t (*size)(void) = (size_t(*)(void))dlsym(handle, "imb_get_mb_mgr_size");
  void *allocate = dlsym(handle, "alloc_mb_mgr");
  void *initialize = dlsym(handle, "init_mb_mgr_auto");
  void *release = dlsym(handle, "free_mb_mgr");
  // A manager's functions are called through its fields, which stand where the header says in its own version alone.
  unsigned found = version ? version() : 0;
  if (found >> 8 != IMB_VERSION_NUM >> 8) {
    snprintf(
        problem, sizeof problem, "%s is version %u.%u, and wg6 was built for %s", name, found >> 16, found >> 8 & 0xFF,
        IMB_VERSION_STR);
    dlclose(handle);
    return problem;
  }
  if (!allocate || !initialize || !release || !size || size() < sizeof(IMB_MGR)) {
    snprintf(problem, sizeof problem, "%s is not what its version says", name);
    dlclose(handle);
    return problem;
  }
  library.allocate = (IMB_MGR * (*)(uint64_t)) allocate;
  library.initialize = (void (*)(IMB_MGR *, IMB_ARCH *))initialize;
  library.release = (void (*)(IMB_MGR *))release;
  return NULL;
}

struct vector_cipher *vector_cipher_make(void) {
  IMB_MGR *manager = library.allocate(0);
  if (!manager) return NULL;
  IMB_ARCH architecture = IMB_ARCH_NONE;
  library.initialize(manager, &architecture);
  // Without SAFE_DATA it leaves keystream on the stack; whoever built it so wants a few nanoseconds more than that.
  if (architecture == IMB_ARCH_NONE || manager->imb_errno != 0 || !(manager->features & IMB_FEATURE_SAFE_DATA)) {
    library.release(manager);
    return NULL;
  }
  return (struct vector_cipher *)manager;
}

void vector_cipher_free(struct vector_cipher *cipher) { library.release((IMB_MGR *)cipher); }

#else

#include <stdlib.h>

// Never called: whoever asks is told that there is no such cipher.
struct vector_cipher *vector_cipher_make(void) { return NULL; }
void vector_cipher_free(struct vector_cipher *cipher) { abort(); }
void vector_seal_train(struct vector_cipher *cipher, const struct vector_job *jobs, size_t count) { abort(); }
void vector_open_train(struct vector_cipher *cipher, struct vector_job *jobs, size_t count) { abort(); }

const char *vector_load(const char *name) {
#ifdef __x86_64__
  return "wg6 was built without ipsec-mb 1.3 or newer";
#else
  return "ipsec-mb is for x86-64 processors";
#endif
}

#endif
