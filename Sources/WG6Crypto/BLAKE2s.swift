/// Thirty-two bytes of hash: handshake hashes, mac keys. Not secret by itself.
public typealias Digest = InlineArray<32, UInt8>

/// BLAKE2s (RFC 7693), unkeyed or keyed, 1 to 32 bytes of output, fed piece by piece.
///
/// libsodium has only BLAKE2b. The state sits in `SecretMemory`: HMAC keys and chaining keys pass through it.
@safe package struct BLAKE2s: ~Copyable {
  package static let blockSize = 64

  private enum Offset {
    static let chain = 0, block = 32, length = 96, filled = 104, outputLength = 108, end = 112
  }

  // SAFETY: allocated in init, freed in deinit; every access below stays within `Offset.end` bytes.
  private let state: UnsafeMutableRawPointer

  /// Precondition: `outputLength` is 1 to 32.
  package init(outputLength: Int = 32) {
    self.init(outputLength: outputLength, keyLength: 0)
  }

  /// BLAKE2s under a key of 1 to 32 bytes.
  package init(key: RawSpan, outputLength: Int = 32) {
    self.init(outputLength: outputLength, keyLength: key.byteCount)
    precondition((1...32).contains(key.byteCount))
    // The key fills a whole block of its own, zero-padded.
    unsafe key.withUnsafeBytes { unsafe (state + Offset.block).copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
    filled = BLAKE2s.blockSize
  }

  private init(outputLength: Int, keyLength: Int) {
    precondition((1...32).contains(outputLength))
    unsafe state = SecretMemory.allocate(byteCount: Offset.end)
    var chain = BLAKE2s.initialVector
    chain[0] ^= 0x0101_0000 ^ UInt32(keyLength) << 8 ^ UInt32(outputLength)
    unsafe state.storeBytes(of: chain, as: SIMD8<UInt32>.self)
    unsafe state.storeBytes(of: UInt32(outputLength), toByteOffset: Offset.outputLength, as: UInt32.self)
  }

  deinit {
    unsafe SecretMemory.deallocate(state, byteCount: Offset.end)
  }

  private var filled: Int {
    get { Int(unsafe state.load(fromByteOffset: Offset.filled, as: UInt32.self)) }
    nonmutating set { unsafe state.storeBytes(of: UInt32(newValue), toByteOffset: Offset.filled, as: UInt32.self) }
  }

  package mutating func update(_ bytes: RawSpan) {
    unsafe bytes.withUnsafeBytes { unsafe update($0) }
  }

  private func update(_ bytes: UnsafeRawBufferPointer) {
    guard var source = bytes.baseAddress else { return }
    var remaining = bytes.count
    while remaining > 0 {
      // A full block is compressed only once more input is there: the last one is special.
      if filled == BLAKE2s.blockSize {
        compress(byteCount: BLAKE2s.blockSize, isLast: false)
        filled = 0
      }
      let take = min(BLAKE2s.blockSize - filled, remaining)
      unsafe (state + Offset.block + filled).copyMemory(from: source, byteCount: take)
      filled += take
      unsafe source += take
      remaining -= take
    }
  }

  /// Ends the hash and writes its `outputLength` bytes to `output`.
  package consuming func finish(into output: UnsafeMutableRawPointer) {
    unsafe end(into: output)
  }

  private func end(into output: UnsafeMutableRawPointer) {
    let used = filled
    unsafe (state + Offset.block + used).initializeMemory(as: UInt8.self, repeating: 0, count: BLAKE2s.blockSize - used)
    compress(byteCount: used, isLast: true)
    let length = Int(unsafe state.load(fromByteOffset: Offset.outputLength, as: UInt32.self))
    unsafe output.copyMemory(from: state, byteCount: length)
  }

  /// Ends the hash; bytes beyond `outputLength` are zero.
  package consuming func digest() -> Digest {
    var result = Digest(repeating: 0)
    var bytes = result.mutableSpan
    unsafe bytes.withUnsafeMutableBytes { unsafe end(into: $0.baseAddress!) }
    return result
  }

  /// The hash of `input`.
  package static func hash(_ input: RawSpan) -> Digest {
    var hash = BLAKE2s()
    hash.update(input)
    return hash.digest()
  }

  /// The hash of `first` and `second`, one behind the other.
  package static func hash(_ first: RawSpan, _ second: RawSpan) -> Digest {
    var hash = BLAKE2s()
    hash.update(first)
    hash.update(second)
    return hash.digest()
  }

  // MARK: Compression (RFC 7693 §3.2)

  private static let initialVector: SIMD8<UInt32> = [
    0x6A09_E667, 0xBB67_AE85, 0x3C6E_F372, 0xA54F_F53A, 0x510E_527F, 0x9B05_688C, 0x1F83_D9AB, 0x5BE0_CD19,
  ]

  private func compress(byteCount: Int, isLast: Bool) {
    let length = unsafe state.load(fromByteOffset: Offset.length, as: UInt64.self) &+ UInt64(byteCount)
    unsafe state.storeBytes(of: length, toByteOffset: Offset.length, as: UInt64.self)

    let chain = unsafe state.load(as: SIMD8<UInt32>.self)
    let message = unsafe Message(words: (state + Offset.block).assumingMemoryBound(to: UInt32.self))
    var vector = WorkingVector(chain, BLAKE2s.initialVector, length: length, isLast: isLast)
    vector.round(message, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
    vector.round(message, 14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3)
    vector.round(message, 11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4)
    vector.round(message, 7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8)
    vector.round(message, 9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13)
    vector.round(message, 2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9)
    vector.round(message, 12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11)
    vector.round(message, 13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10)
    vector.round(message, 6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5)
    vector.round(message, 10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0)
    unsafe state.storeBytes(of: chain ^ vector.folded, as: SIMD8<UInt32>.self)
  }

  /// The sixteen little-endian words of a block.
  @safe private struct Message {
    // SAFETY: points at a block of the hash's own state for the length of `compress`; indices are the literals above.
    let words: UnsafePointer<UInt32>

    subscript(_ index: Int) -> UInt32 { unsafe UInt32(littleEndian: words[index]) }
  }

  /// The working vector, a word a variable: 320 ns for a mac1 on an AMD EPYC, where four vectors of four words take
  /// 1,460 ns, since baseline x86-64 can neither rotate nor gather them.
  private struct WorkingVector {
    var v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12, v13, v14, v15: UInt32

    init(_ chain: SIMD8<UInt32>, _ initial: SIMD8<UInt32>, length: UInt64, isLast: Bool) {
      (v0, v1, v2, v3) = (chain[0], chain[1], chain[2], chain[3])
      (v4, v5, v6, v7) = (chain[4], chain[5], chain[6], chain[7])
      (v8, v9, v10, v11) = (initial[0], initial[1], initial[2], initial[3])
      v12 = initial[4] ^ UInt32(truncatingIfNeeded: length)
      v13 = initial[5] ^ UInt32(truncatingIfNeeded: length >> 32)
      v14 = initial[6] ^ (isLast ? .max : 0)
      v15 = initial[7]
    }

    /// Both halves, one into the other.
    var folded: SIMD8<UInt32> {
      SIMD8(v0 ^ v8, v1 ^ v9, v2 ^ v10, v3 ^ v11, v4 ^ v12, v5 ^ v13, v6 ^ v14, v7 ^ v15)
    }

    // Inlined, all three: called, they send the sixteen words through memory, and the vectors' 1,460 ns were 1,780.
    @inline(__always)
    mutating func round(
      _ m: Message, _ i0: Int, _ i1: Int, _ i2: Int, _ i3: Int, _ i4: Int, _ i5: Int, _ i6: Int, _ i7: Int,
      _ i8: Int, _ i9: Int, _ i10: Int, _ i11: Int, _ i12: Int, _ i13: Int, _ i14: Int, _ i15: Int
    ) {
      WorkingVector.mix(&v0, &v4, &v8, &v12, m[i0], m[i1])
      WorkingVector.mix(&v1, &v5, &v9, &v13, m[i2], m[i3])
      WorkingVector.mix(&v2, &v6, &v10, &v14, m[i4], m[i5])
      WorkingVector.mix(&v3, &v7, &v11, &v15, m[i6], m[i7])
      WorkingVector.mix(&v0, &v5, &v10, &v15, m[i8], m[i9])
      WorkingVector.mix(&v1, &v6, &v11, &v12, m[i10], m[i11])
      WorkingVector.mix(&v2, &v7, &v8, &v13, m[i12], m[i13])
      WorkingVector.mix(&v3, &v4, &v9, &v14, m[i14], m[i15])
    }

    @inline(__always)
    private static func mix(
      _ a: inout UInt32, _ b: inout UInt32, _ c: inout UInt32, _ d: inout UInt32, _ x: UInt32, _ y: UInt32
    ) {
      a = a &+ b &+ x
      d = rotate(d ^ a, 16)
      c = c &+ d
      b = rotate(b ^ c, 12)
      a = a &+ b &+ y
      d = rotate(d ^ a, 8)
      c = c &+ d
      b = rotate(b ^ c, 7)
    }

    @inline(__always)
    private static func rotate(_ v: UInt32, _ count: UInt32) -> UInt32 { v &>> count | v &<< (32 - count) }
  }
}
