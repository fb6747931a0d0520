import WG6Crypto

/// The Noise handshake that WireGuard is built on, `Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s`:
///
///     <- s
///     ...
///     -> e, es, s, ss, {payload}
///     <- e, ee, se, psk, {payload}
///
/// It knows no sockets, clocks, indices or macs: Noise messages in, Noise messages and keys out.
enum NoiseIK {
  static let protocolName: StaticString = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
  static let wireGuardPrologue: StaticString = "WireGuard v1 zx2c4 Jason@zx2c4.com"

  /// Bytes that the first message has beside its payload: an ephemeral key, a sealed static key, a tag.
  static let initiationOverhead = FieldLength.publicKey * 2 + FieldLength.tag * 2
  /// Bytes that the second message has beside its payload: an ephemeral key, a tag.
  static let responseOverhead = FieldLength.publicKey + FieldLength.tag

  /// What both ends know before the first message. Costs two hashes: keep one a remote key.
  static func start(responder: PublicKey, prologue: RawSpan) -> SymmetricState {
    var state = SymmetricState(protocolName: protocolName, prologue: prologue)
    unsafe state.mixHash(responder.bytes.span.bytes)
    return state
  }

  /// The same under WireGuard's own prologue.
  static func start(responder: PublicKey) -> SymmetricState {
    let prologue = unsafe UnsafeRawBufferPointer(
      start: wireGuardPrologue.utf8Start, count: wireGuardPrologue.utf8CodeUnitCount)
    return unsafe start(responder: responder, prologue: prologue.bytes)
  }

  /// The keys of a finished handshake, as one end sees them.
  struct TransportKeys: ~Copyable {
    let sending: Secret
    let receiving: Secret
    let handshakeHash: Digest
  }

  // MARK: Initiator

  /// An initiator that has sent its message and waits for the answer.
  struct Initiator: ~Copyable {
    private let state: SymmetricState
    private let ephemeral: Secret
    private let staticKey: PrivateKey

    /// Writes the first message (`initiationOverhead` bytes and the payload's) to `message`.
    ///
    /// - Parameter staticStatic: the shared secret of both static keys, computed once a peer.
    /// - Returns: `nil` where the responder's key is of low order: such a message must not be sent.
    init?(
      from start: borrowing SymmetricState, staticKey: PrivateKey, staticPublicKey: PublicKey,
      staticStatic: borrowing Secret, responder: PublicKey, ephemeral: consuming Secret, payload: RawSpan,
      writing message: UnsafeMutableRawPointer
    ) {
      var state = start.clone()
      var output = unsafe message

      // e
      let ephemeralPublic = X25519.publicKey(of: ephemeral)
      unsafe output.store(ephemeralPublic)
      unsafe state.mixHash(ephemeralPublic.bytes.span.bytes)
      unsafe state.mixKey(ephemeralPublic.bytes.span.bytes)
      unsafe output += FieldLength.publicKey

      // es
      guard let shared = X25519.sharedSecret(ephemeral, responder) else { return nil }
      state.mixKey(shared)

      // s
      unsafe state.encryptAndHash(staticPublicKey.bytes.span.bytes, into: output)
      unsafe output += FieldLength.publicKey + FieldLength.tag

      // ss
      state.mixKey(staticStatic)

      // {payload}
      unsafe state.encryptAndHash(payload, into: output)

      self.state = state
      self.ephemeral = ephemeral
      self.staticKey = staticKey
    }

    /// Reads the answer, its payload going to `payload`; `nil` where it is not genuine, and this one waits on unharmed.
    borrowing func finish(
      _ message: RawSpan, presharedKey: RawSpan, payload: UnsafeMutableRawPointer
    ) -> TransportKeys? {
      guard message.byteCount >= responseOverhead else { return nil }
      var state = self.state.clone()

      // e
      let remoteEphemeral = PublicKey(at: 0, of: message)
      unsafe state.mixHash(remoteEphemeral.bytes.span.bytes)
      unsafe state.mixKey(remoteEphemeral.bytes.span.bytes)

      // ee
      guard let ephemeralShared = X25519.sharedSecret(ephemeral, remoteEphemeral) else { return nil }
      state.mixKey(ephemeralShared)

      // se
      guard let staticShared = X25519.sharedSecret(staticKey.secret, remoteEphemeral) else { return nil }
      state.mixKey(staticShared)

      // psk
      state.mixKeyAndHash(presharedKey)

      // {payload}
      let sealed = message.extracting(FieldLength.publicKey..<message.byteCount)
      guard unsafe state.decryptAndHash(sealed, into: payload) else { return nil }

      let hash = state.hash
      let keys = state.split()
      return TransportKeys(sending: keys.first.clone(), receiving: keys.second.clone(), handshakeHash: hash)
    }
  }

  // MARK: Responder

  /// A responder that has read who the initiator says it is, and no further: the caller looks the peer up now.
  struct Introduction: ~Copyable {
    private var state: SymmetricState
    private let remoteEphemeral: PublicKey
    let remoteStatic: PublicKey

    /// Reads the first message up to the static key; `nil` where it is not genuine.
    init?(_ message: RawSpan, from start: borrowing SymmetricState, staticKey: PrivateKey) {
      guard message.byteCount >= initiationOverhead else { return nil }
      var state = start.clone()

      // e
      let remoteEphemeral = PublicKey(at: 0, of: message)
      unsafe state.mixHash(remoteEphemeral.bytes.span.bytes)
      unsafe state.mixKey(remoteEphemeral.bytes.span.bytes)

      // es
      guard let shared = X25519.sharedSecret(staticKey.secret, remoteEphemeral) else { return nil }
      state.mixKey(shared)

      // s
      var remoteStatic = InlineArray<32, UInt8>(repeating: 0)
      let sealed = message.extracting(
        FieldLength.publicKey..<FieldLength.publicKey * 2 + FieldLength.tag)
      var span = remoteStatic.mutableSpan
      guard unsafe span.withUnsafeMutableBytes({ unsafe state.decryptAndHash(sealed, into: $0.baseAddress!) }) else {
        return nil
      }

      self.state = state
      self.remoteEphemeral = remoteEphemeral
      self.remoteStatic = PublicKey(remoteStatic)
    }

    /// Reads the rest, the payload going to `payload`; `nil` where it is not genuine.
    consuming func read(
      _ message: RawSpan, staticStatic: borrowing Secret, payload: UnsafeMutableRawPointer
    ) -> Responder? {
      // ss
      state.mixKey(staticStatic)

      // {payload}
      let sealed = message.extracting(FieldLength.publicKey * 2 + FieldLength.tag..<message.byteCount)
      guard unsafe state.decryptAndHash(sealed, into: payload) else { return nil }
      return Responder(state: state, remoteEphemeral: remoteEphemeral, remoteStatic: remoteStatic)
    }
  }

  /// A responder that has read the whole first message and may answer.
  struct Responder: ~Copyable {
    private var state: SymmetricState
    private let remoteEphemeral: PublicKey
    private let remoteStatic: PublicKey

    fileprivate init(state: consuming SymmetricState, remoteEphemeral: PublicKey, remoteStatic: PublicKey) {
      self.state = state
      self.remoteEphemeral = remoteEphemeral
      self.remoteStatic = remoteStatic
    }

    /// Writes the second message (`responseOverhead` bytes and the payload's) to `message`; `nil` where a key is of low order.
    consuming func respond(
      ephemeral: borrowing Secret, presharedKey: RawSpan, payload: RawSpan, writing message: UnsafeMutableRawPointer
    ) -> TransportKeys? {
      // e
      let ephemeralPublic = X25519.publicKey(of: ephemeral)
      unsafe message.store(ephemeralPublic)
      unsafe state.mixHash(ephemeralPublic.bytes.span.bytes)
      unsafe state.mixKey(ephemeralPublic.bytes.span.bytes)

      // ee
      guard let ephemeralShared = X25519.sharedSecret(ephemeral, remoteEphemeral) else { return nil }
      state.mixKey(ephemeralShared)

      // se
      guard let staticShared = X25519.sharedSecret(ephemeral, remoteStatic) else { return nil }
      state.mixKey(staticShared)

      // psk
      state.mixKeyAndHash(presharedKey)

      // {payload}
      unsafe state.encryptAndHash(payload, into: message + FieldLength.publicKey)

      let hash = state.hash
      let keys = state.split()
      return TransportKeys(sending: keys.second.clone(), receiving: keys.first.clone(), handshakeHash: hash)
    }
  }
}

extension PublicKey {
  /// The key at `offset` of a message. Bounds-checked.
  init(at offset: Int, of message: RawSpan) {
    self.init(InlineArray { message.byte(at: offset + $0) })
  }
}

extension UnsafeMutableRawPointer {
  /// Writes the 32 bytes of `key` here.
  func store(_ key: PublicKey) {
    unsafe storeBytes(of: key.bytes, as: InlineArray<32, UInt8>.self)
  }
}
