/// HMAC (RFC 2104) over BLAKE2s. The key must not be longer than a block (64 bytes), which no key here is.
package struct HMAC: ~Copyable {
  private var inner = BLAKE2s()
  private var outer = BLAKE2s()

  package init(key: RawSpan) {
    precondition(key.byteCount <= BLAKE2s.blockSize)
    // Both pads are key material: they pass through secret memory, not through the stack.
    let pad = unsafe SecretMemory.allocate(byteCount: BLAKE2s.blockSize)
    defer { unsafe SecretMemory.deallocate(pad, byteCount: BLAKE2s.blockSize) }
    for offset in 0..<BLAKE2s.blockSize {
      let byte = offset < key.byteCount ? key.byte(at: offset) : 0
      unsafe pad.storeBytes(of: byte ^ 0x36, toByteOffset: offset, as: UInt8.self)
    }
    let bytes = unsafe UnsafeRawBufferPointer(start: pad, count: BLAKE2s.blockSize)
    unsafe inner.update(bytes.bytes)
    for offset in 0..<BLAKE2s.blockSize {
      unsafe pad.storeBytes(of: bytes[offset] ^ 0x36 ^ 0x5C, toByteOffset: offset, as: UInt8.self)
    }
    unsafe outer.update(bytes.bytes)
  }

  package mutating func update(_ bytes: RawSpan) {
    inner.update(bytes)
  }

  /// Ends the computation: the 32 bytes, as a secret.
  package consuming func finish() -> Secret {
    let result = Secret()
    var outer = self.outer
    unsafe inner.finish(into: result.storage)
    result.withBytes { outer.update($0) }
    unsafe outer.finish(into: result.storage)
    return result
  }
}

/// The key derivation function of Noise (§4.3) and of the WireGuard paper (§5.4): HKDF over HMAC-BLAKE2s.
package enum KDF {
  package static func derive1(_ key: borrowing Secret, _ input: RawSpan) -> Secret {
    expand(extract(key, input), after: nil, 1)
  }

  package static func derive2(_ key: borrowing Secret, _ input: RawSpan) -> Pair {
    let pseudorandomKey = extract(key, input)
    let first = expand(pseudorandomKey, after: nil, 1)
    let second = expand(pseudorandomKey, after: first.clone(), 2)
    return Pair(first: first, second: second)
  }

  package static func derive3(_ key: borrowing Secret, _ input: RawSpan) -> Triple {
    let pseudorandomKey = extract(key, input)
    let first = expand(pseudorandomKey, after: nil, 1)
    let second = expand(pseudorandomKey, after: first.clone(), 2)
    let third = expand(pseudorandomKey, after: second.clone(), 3)
    return Triple(first: first, second: second, third: third)
  }

  package struct Pair: ~Copyable {
    package var first, second: Secret
  }

  package struct Triple: ~Copyable {
    package var first, second, third: Secret
  }

  private static func extract(_ key: borrowing Secret, _ input: RawSpan) -> Secret {
    var hmac = key.withBytes { HMAC(key: $0) }
    hmac.update(input)
    return hmac.finish()
  }

  private static func expand(_ key: borrowing Secret, after previous: consuming Secret?, _ index: UInt8) -> Secret {
    var hmac = key.withBytes { HMAC(key: $0) }
    if let previous { previous.withBytes { hmac.update($0) } }
    let counter: InlineArray<1, UInt8> = [index]
    unsafe hmac.update(counter.span.bytes)
    return hmac.finish()
  }
}
