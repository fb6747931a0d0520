import WG6Crypto

/// The responder's side of cookies (WireGuard paper §5.3, §5.4.7): under load, only a sender that proves that it
/// receives where it says it is gets a handshake computed.
struct CookieChecker: ~Copyable {
  private let keys: MacKeys
  private var secret = Secret()
  private var secretMadeAt: Nanoseconds = 0
  /// Replies under this secret, so that each has a nonce of its own.
  private var replies: UInt64 = 0

  init(for publicKey: PublicKey) {
    keys = MacKeys(of: publicKey)
  }

  /// Whether the sender knows our public key.
  func hasValidMac1(_ message: ControlMessage) -> Bool {
    unsafe message.hasMac(at: message.mac1Offset, key: keys.mac1.span.bytes)
  }

  /// Whether the sender has a cookie of ours for where it sends from.
  mutating func hasValidMac2(
    _ message: ControlMessage, from path: PackedPath, now: Nanoseconds, using random: inout some RandomNumberGenerator
  ) -> Bool {
    // Most of a flood has none, and is spared the two macs. No secret is compared here.
    guard message.hasMac2 else { return false }
    let cookie = cookie(for: path, now: now, using: &random)
    return unsafe message.hasMac(at: message.mac2Offset, key: cookie.span.bytes)
  }

  /// The cookie reply to `message`: shorter than any message it answers.
  mutating func reply(
    to message: ControlMessage, from path: PackedPath, now: Nanoseconds, using random: inout some RandomNumberGenerator
  ) -> ControlMessage {
    let cookie = cookie(for: path, now: now, using: &random)
    var reply = ControlMessage(count: CookieReplyMessage.length)
    reply.setWord(MessageType.cookieReply, at: 0)
    reply.setWord(message.word(at: InitiationMessage.sender), at: CookieReplyMessage.receiver)
    let nonce = nextNonce()
    let keys = keys
    unsafe reply.mutate { out in
      unsafe out.storeBytes(of: nonce, toByteOffset: CookieReplyMessage.nonce, as: InlineArray<24, UInt8>.self)
      message.field(message.mac1Offset, FieldLength.mac) { mac1 in
        unsafe XChaCha20Poly1305.seal(
          cookie.span.bytes, into: out + CookieReplyMessage.encryptedCookie, nonce: nonce.span.bytes,
          key: keys.cookie.span.bytes, authenticating: mac1)
      }
    }
    return reply
  }

  /// Twenty-four bytes that are random to everyone else: drawing them from the system would take longer than all the rest
  /// of a reply.
  private mutating func nextNonce() -> InlineArray<24, UInt8> {
    replies += 1
    let count: InlineArray<1, UInt64> = [replies]
    var hash = secret.withBytes { BLAKE2s(key: $0, outputLength: FieldLength.cookieNonce) }
    unsafe hash.update(count.span.bytes)
    let digest = hash.digest()
    return InlineArray { digest[$0] }
  }

  /// What only a sender at this address and port gets to see: a mac of both under a secret of the last two minutes.
  private mutating func cookie(
    for path: PackedPath, now: Nanoseconds, using random: inout some RandomNumberGenerator
  ) -> Mac {
    if secretMadeAt == 0 || now.since(secretMadeAt) >= Limits.cookieLifetime {
      secret = Secret(randomFrom: &random)
      secretMadeAt = now
      replies = 0
    }
    let source: InlineArray<3, UInt64> = [
      path.remote.high, path.remote.low, UInt64(path.port) | (path.isIPv6 ? 1 << 16 : 0),
    ]
    var hash = secret.withBytes { BLAKE2s(key: $0, outputLength: FieldLength.cookie) }
    unsafe hash.update(source.span.bytes)
    let digest = hash.digest()
    return Mac { digest[$0] }
  }
}

/// The initiator's side: the cookie that a peer gave us, and the macs of messages to it.
struct CookieJar {
  private let keys: MacKeys
  private var lastMac1: Mac?
  private var cookie = Mac(repeating: 0)
  private var cookieReceivedAt: Nanoseconds = 0

  init(for publicKey: PublicKey) {
    keys = MacKeys(of: publicKey)
  }

  /// Writes mac1, and mac2 where there is a cookie young enough.
  mutating func seal(_ message: inout ControlMessage, now: Nanoseconds) {
    let mac1 = unsafe MacKeys.mac(of: message, length: message.mac1Offset, key: keys.mac1.span.bytes)
    message.setMac(mac1, at: message.mac1Offset)
    lastMac1 = mac1
    if cookieReceivedAt != 0, now.since(cookieReceivedAt) < Limits.cookieUse {
      unsafe message.setMac(
        MacKeys.mac(of: message, length: message.mac2Offset, key: cookie.span.bytes), at: message.mac2Offset)
    }
  }

  /// Takes the cookie out of `reply`; false where it answers nothing that we sent last, or is not genuine.
  mutating func accept(_ reply: ControlMessage, now: Nanoseconds) -> Bool {
    guard let mac1 = lastMac1 else { return false }
    var opened = Mac(repeating: 0)
    var bytes = opened.mutableSpan
    let isGenuine = unsafe bytes.withUnsafeMutableBytes { out in
      reply.field(CookieReplyMessage.nonce, FieldLength.cookieNonce) { nonce in
        reply.field(CookieReplyMessage.encryptedCookie, FieldLength.cookie + FieldLength.tag) { box in
          unsafe XChaCha20Poly1305.open(
            box, into: out.baseAddress!, nonce: nonce, key: keys.cookie.span.bytes, authenticating: mac1.span.bytes)
        }
      }
    }
    guard isGenuine else { return false }
    cookie = opened
    cookieReceivedAt = now
    // One reply a message: a second one would be somebody else's.
    lastMac1 = nil
    return true
  }
}
