#pragma once
// Nothing to call: the library does its work by being loaded before the C library (LD_PRELOAD).
