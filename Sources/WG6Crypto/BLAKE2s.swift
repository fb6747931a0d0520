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
    var rows = Rows(
      a: chain.lowHalf, b: chain.highHalf, c: BLAKE2s.initialVector.lowHalf,
      d: BLAKE2s.initialVector.highHalf
        ^ [
          UInt32(truncatingIfNeeded: length), UInt32(truncatingIfNeeded: length >> 32), isLast ? .max : 0, 0,
        ])
    rows.round(message, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
    rows.round(message, 14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3)
    rows.round(message, 11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4)
    rows.round(message, 7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8)
    rows.round(message, 9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13)
    rows.round(message, 2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9)
    rows.round(message, 12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11)
    rows.round(message, 13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10)
    rows.round(message, 6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5)
    rows.round(message, 10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0)
    let mixed = SIMD8(lowHalf: rows.a ^ rows.c, highHalf: rows.b ^ rows.d)
    unsafe state.storeBytes(of: chain ^ mixed, as: SIMD8<UInt32>.self)
  }

  /// The sixteen little-endian words of a block.
  @safe private struct Message {
    // SAFETY: points at a block of the hash's own state for the length of `compress`; indices are the literals above.
    let words: UnsafePointer<UInt32>

    func callAsFunction(_ i: Int, _ j: Int, _ k: Int, _ l: Int) -> SIMD4<UInt32> {
      unsafe [
        UInt32(littleEndian: words[i]), UInt32(littleEndian: words[j]), UInt32(littleEndian: words[k]),
        UInt32(littleEndian: words[l]),
      ]
    }
  }

  /// The working vector, four words a row.
  private struct Rows {
    var a, b, c, d: SIMD4<UInt32>

    mutating func round(
      _ m: Message, _ i0: Int, _ i1: Int, _ i2: Int, _ i3: Int, _ i4: Int, _ i5: Int, _ i6: Int, _ i7: Int,
      _ i8: Int, _ i9: Int, _ i10: Int, _ i11: Int, _ i12: Int, _ i13: Int, _ i14: Int, _ i15: Int
    ) {
      mix(m(i0, i2, i4, i6), m(i1, i3, i5, i7))
      // Columns become diagonals, and columns again.
      b = SIMD4(b.y, b.z, b.w, b.x)
      c = SIMD4(c.z, c.w, c.x, c.y)
      d = SIMD4(d.w, d.x, d.y, d.z)
      mix(m(i8, i10, i12, i14), m(i9, i11, i13, i15))
      b = SIMD4(b.w, b.x, b.y, b.z)
      c = SIMD4(c.z, c.w, c.x, c.y)
      d = SIMD4(d.y, d.z, d.w, d.x)
    }

    private mutating func mix(_ x: SIMD4<UInt32>, _ y: SIMD4<UInt32>) {
      a = a &+ b &+ x
      d = rotate(d ^ a, 16)
      c = c &+ d
      b = rotate(b ^ c, 12)
      a = a &+ b &+ y
      d = rotate(d ^ a, 8)
      c = c &+ d
      b = rotate(b ^ c, 7)
    }

    private func rotate(_ v: SIMD4<UInt32>, _ count: UInt32) -> SIMD4<UInt32> {
      v &>> SIMD4(repeating: count) | v &<< SIMD4(repeating: 32 - count)
    }
  }
}
