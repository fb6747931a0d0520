import CSodium

/// ChaCha20-Poly1305 (RFC 8439) with WireGuard's nonce: four zero bytes and a 64-bit little-endian counter.
package enum ChaCha20Poly1305 {
  /// Bytes that sealing adds.
  package static let tagLength = 16

  /// Seals `text` under `key` to `output`, which takes `text.byteCount + tagLength` bytes.
  package static func seal(
    _ text: RawSpan, into output: UnsafeMutableRawPointer, counter: UInt64 = 0, key: borrowing Secret,
    authenticating data: RawSpan
  ) {
    unsafe withNonce(counter) { nonce in
      unsafe text.withUnsafeBytes { text in
        unsafe data.withUnsafeBytes { data in
          _ = unsafe crypto_aead_chacha20poly1305_ietf_encrypt(
            output.assumingMemoryBound(to: UInt8.self), nil, pointer(text), UInt64(text.count), pointer(data),
            UInt64(data.count), nil, nonce, key.storage.assumingMemoryBound(to: UInt8.self))
        }
      }
    }
  }

  /// Opens `box` under `key` to `output`, which takes `box.byteCount - tagLength` bytes; false where it is not genuine.
  package static func open(
    _ box: RawSpan, into output: UnsafeMutableRawPointer, counter: UInt64 = 0, key: borrowing Secret,
    authenticating data: RawSpan
  ) -> Bool {
    guard box.byteCount >= tagLength else { return false }
    return unsafe withNonce(counter) { nonce in
      unsafe box.withUnsafeBytes { box in
        unsafe data.withUnsafeBytes { data in
          unsafe crypto_aead_chacha20poly1305_ietf_decrypt(
            output.assumingMemoryBound(to: UInt8.self), nil, nil, pointer(box)!, UInt64(box.count), pointer(data),
            UInt64(data.count), nonce, key.storage.assumingMemoryBound(to: UInt8.self)) == 0
        }
      }
    }
  }

  /// The data path's form: seals `count` bytes at `text` where they are, the tag behind them.
  @unsafe package static func sealInPlace(
    _ text: UnsafeMutableRawPointer, count: Int, counter: UInt64, key: UnsafePointer<UInt8>
  ) {
    unsafe withNonce(counter) { nonce in
      let bytes = unsafe text.assumingMemoryBound(to: UInt8.self)
      _ = unsafe crypto_aead_chacha20poly1305_ietf_encrypt(
        bytes, nil, bytes, UInt64(count), nil, 0, nil, nonce, key)
    }
  }

  /// The data path's form: opens the `count` bytes at `box`, tag included, where they are; false where not genuine.
  @unsafe package static func openInPlace(
    _ box: UnsafeMutableRawPointer, count: Int, counter: UInt64, key: UnsafePointer<UInt8>
  ) -> Bool {
    unsafe withNonce(counter) { nonce in
      let bytes = unsafe box.assumingMemoryBound(to: UInt8.self)
      return unsafe crypto_aead_chacha20poly1305_ietf_decrypt(
        bytes, nil, nil, bytes, UInt64(count), nil, 0, nonce, key) == 0
    }
  }

  private static func withNonce<Result>(_ counter: UInt64, _ body: (UnsafePointer<UInt8>) -> Result) -> Result {
    var nonce: (UInt32, UInt32, UInt32) = (
      0, UInt32(truncatingIfNeeded: counter).littleEndian, UInt32(truncatingIfNeeded: counter >> 32).littleEndian
    )
    return unsafe withUnsafeBytes(of: &nonce) { unsafe body($0.baseAddress!.assumingMemoryBound(to: UInt8.self)) }
  }
}

/// XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha), which seals cookies under a random 24-byte nonce.
package enum XChaCha20Poly1305 {
  package static let nonceLength = 24
  package static let tagLength = 16

  /// Seals `text` to `output` (`text.byteCount + tagLength` bytes). Preconditions: nonce 24 bytes, key 32.
  package static func seal(
    _ text: RawSpan, into output: UnsafeMutableRawPointer, nonce: RawSpan, key: RawSpan, authenticating data: RawSpan
  ) {
    precondition(nonce.byteCount == nonceLength && key.byteCount == 32)
    unsafe text.withUnsafeBytes { text in
      unsafe data.withUnsafeBytes { data in
        unsafe nonce.withUnsafeBytes { nonce in
          unsafe key.withUnsafeBytes { key in
            _ = unsafe crypto_aead_xchacha20poly1305_ietf_encrypt(
              output.assumingMemoryBound(to: UInt8.self), nil, pointer(text), UInt64(text.count), pointer(data),
              UInt64(data.count), nil, pointer(nonce)!, pointer(key)!)
          }
        }
      }
    }
  }

  /// Opens `box` to `output` (`box.byteCount - tagLength` bytes); false where it is not genuine.
  package static func open(
    _ box: RawSpan, into output: UnsafeMutableRawPointer, nonce: RawSpan, key: RawSpan, authenticating data: RawSpan
  ) -> Bool {
    precondition(nonce.byteCount == nonceLength && key.byteCount == 32)
    guard box.byteCount >= tagLength else { return false }
    return unsafe box.withUnsafeBytes { box in
      unsafe data.withUnsafeBytes { data in
        unsafe nonce.withUnsafeBytes { nonce in
          unsafe key.withUnsafeBytes { key in
            unsafe crypto_aead_xchacha20poly1305_ietf_decrypt(
              output.assumingMemoryBound(to: UInt8.self), nil, nil, pointer(box)!, UInt64(box.count), pointer(data),
              UInt64(data.count), pointer(nonce)!, pointer(key)!) == 0
          }
        }
      }
    }
  }
}

private func pointer(_ bytes: UnsafeRawBufferPointer) -> UnsafePointer<UInt8>? {
  unsafe bytes.baseAddress?.assumingMemoryBound(to: UInt8.self)
}

/// Whether both hold the same bytes, in time that tells nothing about where they differ. Precondition: equal lengths.
package func equalInConstantTime(_ left: RawSpan, _ right: RawSpan) -> Bool {
  precondition(left.byteCount == right.byteCount)
  return unsafe left.withUnsafeBytes { left in
    unsafe right.withUnsafeBytes { right in
      unsafe sodium_memcmp(left.baseAddress!, right.baseAddress!, left.count) == 0
    }
  }
}

/// libsodium, made ready: picks its fastest code for this CPU. Call once before anything else here.
///
/// - Returns: false where the library cannot work at all.
public func prepareCryptography() -> Bool {
  sodium_init() >= 0
}
