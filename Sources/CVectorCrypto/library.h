#pragma once

#include "CVectorCrypto.h"

// The burst interface as it is called here came with 1.3.
#if defined(__x86_64__) && __has_include(<intel-ipsec-mb.h>)
#include <intel-ipsec-mb.h>
#if IMB_VERSION_NUM >= IMB_VERSION(1, 3, 0)
#define HAS_VECTOR_LIBRARY 1
#endif
#endif
