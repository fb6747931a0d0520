#pragma once

/// Calls so far, for a program that has linked the library instead of loading it before the C library (LD_PRELOAD).
unsigned long malloc_calls(void);
