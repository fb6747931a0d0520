#pragma once
#include <stddef.h>
#include <stdint.h>

// libFuzzer's own main, as a function: it comes with -sanitize=fuzzer and has no header of its own.
int LLVMFuzzerRunDriver(int *argc, char ***argv, int (*one_input)(const uint8_t *bytes, size_t count));
