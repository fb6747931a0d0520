#include "library.h"

#ifdef HAS_VECTOR_LIBRARY

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

// A train; the library takes up to 128 at once.
enum { BURST = 64, TAG = 16 };

// The first twelve bytes are the nonce.
struct nonce {
  uint32_t zero;
  uint32_t counter[2];
};

static void describe(
    IMB_JOB *work, const struct vector_job *job, struct nonce *nonce, uint8_t *tag, IMB_CIPHER_DIRECTION direction) {
  *nonce = (struct nonce){0, {(uint32_t)job->counter, (uint32_t)(job->counter >> 32)}};
  work->cipher_mode = IMB_CIPHER_CHACHA20_POLY1305;
  work->hash_alg = IMB_AUTH_CHACHA20_POLY1305;
  work->cipher_direction = direction;
  work->chain_order = direction == IMB_DIR_ENCRYPT ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
  work->enc_keys = work->dec_keys = job->key;
  work->key_len_in_bytes = IMB_KEY_256_BYTES;
  work->iv = (const uint8_t *)nonce;
  work->iv_len_in_bytes = 12;
  work->src = work->dst = job->text;
  work->cipher_start_src_offset_in_bytes = work->hash_start_src_offset_in_bytes = 0;
  work->msg_len_to_cipher_in_bytes = work->msg_len_to_hash_in_bytes = job->count;
  work->u.CHACHA20_POLY1305.aad = NULL;
  work->u.CHACHA20_POLY1305.aad_len_in_bytes = 0;
  work->auth_tag_output = tag;
  work->auth_tag_output_len_in_bytes = TAG;
}

// Whether all of it was done. The library does ChaCha20-Poly1305 at once: no job stays behind in its queue. What it
// checks of a job otherwise (null pointers, lengths of keys) costs 3 to 7% of the time and is settled here.
static bool run(
    IMB_MGR *manager, const struct vector_job *jobs, uint32_t count, uint8_t (*tags)[TAG],
    IMB_CIPHER_DIRECTION direction) {
  IMB_JOB *burst[BURST];
  struct nonce nonces[BURST];
  if (IMB_GET_NEXT_BURST(manager, count, burst) != count) return false;
  for (uint32_t i = 0; i < count; i++) {
    uint8_t *tag = tags ? tags[i] : jobs[i].text + jobs[i].count;
    describe(burst[i], &jobs[i], &nonces[i], tag, direction);
  }
  return IMB_SUBMIT_BURST_NOCHECK(manager, count, burst) == count;
}

void vector_seal_train(struct vector_cipher *cipher, const struct vector_job *jobs, size_t count) {
  while (count > 0) {
    uint32_t part = count < BURST ? count : BURST;
    if (!run((IMB_MGR *)cipher, jobs, part, NULL, IMB_DIR_ENCRYPT)) abort();
    jobs += part;
    count -= part;
  }
}

void vector_open_train(struct vector_cipher *cipher, struct vector_job *jobs, size_t count) {
  while (count > 0) {
    uint32_t part = count < BURST ? count : BURST;
    uint8_t tags[BURST][TAG];
    bool isDone = run((IMB_MGR *)cipher, jobs, part, tags, IMB_DIR_DECRYPT);
    for (uint32_t i = 0; i < part; i++) {
      struct vector_job *job = &jobs[i];
      job->is_genuine = isDone && crypto_verify_16(tags[i], job->text + job->count) == 0;
      // The library has decrypted what somebody forged: nobody shall take it for a packet.
      if (!job->is_genuine) memset(job->text, 0, job->count);
    }
    jobs += part;
    count -= part;
  }
}

#endif
