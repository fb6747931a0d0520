import Benchmark

@testable import WG6Crypto
@testable import WG6Protocol

/// The handshake's three computations, without macs and cookies: one operation each, not a thousand.
func benchmarkHandshakes() {
  let one = Benchmark.Configuration(
    metrics: Benchmark.defaultConfiguration.metrics, scalingFactor: .one, maxDuration: .seconds(1))
  let usual = Benchmark.defaultConfiguration
  Benchmark.defaultConfiguration = one
  defer { Benchmark.defaultConfiguration = usual }
  Benchmark.measure("initiator's first message", of: { Parties() }) { parties, operations in
    for _ in 0..<operations { precondition(parties.initiate()) }
  }
  Benchmark.measure("responder, both messages", of: { Parties() }) { parties, operations in
    for _ in 0..<operations { precondition(parties.respond()) }
  }
  Benchmark.measure("initiator's second half", of: { Parties() }) { parties, operations in
    for _ in 0..<operations { precondition(parties.finish()) }
  }
}

/// Two who know each other, as far in their handshake as each computation needs them.
private final class Parties {
  private static let payloadLength = 12
  private let initiatorKey: PrivateKey, initiatorPublic: PublicKey
  private let responderKey: PrivateKey, responderPublic: PublicKey
  private let shared: Secret
  private let start: SymmetricState
  private var random = Xorshift()
  private let first: UnsafeMutableRawBufferPointer
  private let second: UnsafeMutableRawBufferPointer
  /// Where the payloads go that are read.
  private let read = UnsafeMutableRawBufferPointer.allocate(byteCount: payloadLength, alignment: 16)
  private let payload = [UInt8](repeating: 1, count: payloadLength)
  private let presharedKey = [UInt8](repeating: 0, count: 32)
  private var initiator: NoiseIK.Initiator?

  init() {
    initiatorKey = PrivateKey(using: &random)
    responderKey = PrivateKey(using: &random)
    initiatorPublic = initiatorKey.publicKey
    responderPublic = responderKey.publicKey
    shared = X25519.sharedSecret(initiatorKey.secret, responderPublic)!
    start = NoiseIK.start(responder: responderPublic)
    first = .allocate(byteCount: NoiseIK.initiationOverhead + Self.payloadLength, alignment: 16)
    second = .allocate(byteCount: NoiseIK.responseOverhead, alignment: 16)
    precondition(initiate() && respond() && finish())
  }

  deinit {
    first.deallocate()
    second.deallocate()
    read.deallocate()
  }

  func initiate() -> Bool {
    let payload = payload
    initiator = NoiseIK.Initiator(
      from: start, staticKey: initiatorKey, staticPublicKey: initiatorPublic, staticStatic: shared,
      responder: responderPublic, ephemeral: Secret(randomFrom: &random), payload: payload.span.bytes,
      writing: first.baseAddress!)
    return initiator != nil
  }

  func respond() -> Bool {
    let message = first.bytes
    guard let introduction = NoiseIK.Introduction(message, from: start, staticKey: responderKey),
      let responder = introduction.read(message, staticStatic: shared, payload: read.baseAddress!)
    else { return false }
    let presharedKey = presharedKey, nothing: [UInt8] = []
    let keys = responder.respond(
      ephemeral: Secret(randomFrom: &random), presharedKey: presharedKey.span.bytes, payload: nothing.span.bytes,
      writing: second.baseAddress!)
    return keys != nil
  }

  func finish() -> Bool {
    let presharedKey = presharedKey, message = second.bytes
    let keys = initiator?.finish(message, presharedKey: presharedKey.span.bytes, payload: read.baseAddress!)
    return keys != nil
  }
}
