import WG6Crypto

/// What both ends of a handshake hash and mix along the way: Noise's SymmetricState (specification §5.2), for
/// ChaChaPoly and BLAKE2s.
///
/// Every key here seals exactly one text, under nonce 0; the next token replaces it.
struct SymmetricState: ~Copyable {
  private(set) var hash: Digest
  private var chainingKey: Secret
  private var key: Secret

  /// Starts a handshake named `protocolName`, more than 32 bytes long as ours is, under `prologue`.
  init(protocolName: StaticString, prologue: RawSpan) {
    let name = unsafe UnsafeRawBufferPointer(start: protocolName.utf8Start, count: protocolName.utf8CodeUnitCount)
    precondition(name.count > 32)
    let nameHash = unsafe BLAKE2s.hash(name.bytes)
    chainingKey = unsafe Secret(copying: nameHash.span.bytes)
    hash = unsafe BLAKE2s.hash(nameHash.span.bytes, prologue)
    key = Secret()
  }

  private init(hash: Digest, chainingKey: consuming Secret, key: consuming Secret) {
    self.hash = hash
    self.chainingKey = chainingKey
    self.key = key
  }

  /// Another owner of the same state: a message that turns out forged must leave the original as it was.
  borrowing func clone() -> SymmetricState {
    SymmetricState(hash: hash, chainingKey: chainingKey.clone(), key: key.clone())
  }

  mutating func mixHash(_ data: RawSpan) {
    hash = unsafe BLAKE2s.hash(hash.span.bytes, data)
  }

  mutating func mixKey(_ input: RawSpan) {
    let derived = KDF.derive2(chainingKey, input)
    chainingKey = derived.first.clone()
    key = derived.second.clone()
  }

  mutating func mixKey(_ input: borrowing Secret) {
    input.withBytes { mixKey($0) }
  }

  /// The `psk` token.
  mutating func mixKeyAndHash(_ input: RawSpan) {
    let derived = KDF.derive3(chainingKey, input)
    chainingKey = derived.first.clone()
    derived.second.withBytes { mixHash($0) }
    key = derived.third.clone()
  }

  /// Seals `text` to `output`, which takes 16 bytes more, and mixes in what it wrote.
  mutating func encryptAndHash(_ text: RawSpan, into output: UnsafeMutableRawPointer) {
    unsafe ChaCha20Poly1305.seal(text, into: output, key: key, authenticating: hash.span.bytes)
    let box = unsafe UnsafeRawBufferPointer(start: output, count: text.byteCount + ChaCha20Poly1305.tagLength)
    unsafe mixHash(box.bytes)
  }

  /// Opens `box` to `output`, which takes 16 bytes less, and mixes it in; false where it is not genuine.
  mutating func decryptAndHash(_ box: RawSpan, into output: UnsafeMutableRawPointer) -> Bool {
    guard unsafe ChaCha20Poly1305.open(box, into: output, key: key, authenticating: hash.span.bytes) else {
      return false
    }
    mixHash(box)
    return true
  }

  /// Ends the handshake: the keys of the two directions.
  consuming func split() -> KDF.Pair {
    let empty = InlineArray<0, UInt8>(repeating: 0)
    return unsafe KDF.derive2(chainingKey, empty.span.bytes)
  }
}
