#pragma once

// ChaCha20-Poly1305 by Intel's ipsec-mb, a train of messages a call. The library is loaded when the program runs, not
// linked: a wg6 that was built with it runs where it is absent.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// One data message's packet, to be sealed or opened where it is. `CipherJob` in WG6Crypto is laid out the same.
struct vector_job {
  /// `count` bytes of text, and the tag's 16 behind them.
  uint8_t *text;
  size_t count;
  /// The nonce: four zero bytes and this, little-endian.
  uint64_t counter;
  /// 32 bytes.
  const uint8_t *key;
  /// What opening found out.
  bool is_genuine;
};

/// One thread's own.
struct vector_cipher;

/// Loads the library; `name` is null but in tests. Returns null, or one line that says why it can't be used, valid until
/// the next call. Call it before anything else here, one thread at a time.
const char *vector_load(const char *name);

/// Precondition: the library is loaded. Returns null where there is no memory for one, or the library refuses.
struct vector_cipher *vector_cipher_make(void);
void vector_cipher_free(struct vector_cipher *cipher);

/// Seals each text and puts its tag behind it. Ends the program should the library not do all of it, because a packet
/// that is taken for sealed and is not must never leave.
void vector_seal_train(struct vector_cipher *cipher, const struct vector_job *jobs, size_t count);

/// Opens each text and sets `is_genuine`. Where that is false the text is zeroed.
void vector_open_train(struct vector_cipher *cipher, struct vector_job *jobs, size_t count);
