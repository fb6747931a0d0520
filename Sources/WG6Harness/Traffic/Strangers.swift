import WG6Crypto
import WG6Protocol

/// Whoever knows a responder's public key, and writes genuine first messages to it: the responder must compute a
/// Diffie–Hellman secret before it can tell that it has no such peer.
///
/// The only place where the harness stands on the engine: attackers may well use our own library.
final class Stranger {
  private let device = Device(using: SystemRandomNumberGenerator())
  private var now: Now
  /// Who they say they are; in base64.
  private(set) var publicKey: String

  /// A stranger with a key of its own, who knows `responder`'s, in base64.
  init(knowing responder: String) throws {
    guard let key = PublicKey(base64: responder) else { throw Disproved(claim: "\(responder) is a key", detail: "") }
    now = Now(monotonic: 1_000_000_000, wall: UInt64(Clock.wallSeconds) * 1_000_000_000)
    publicKey = ""
    var update = DeviceUpdate()
    var peer = PeerUpdate(key)
    peer.endpoint = Stranger.nowhere
    peer.persistentKeepalive = 1
    update.peers = [peer]
    device.apply(update, now: now)
    try becomeSomeoneElse()
  }

  /// Takes another key.
  func becomeSomeoneElse() throws {
    var random = SystemRandomNumberGenerator()
    let key = PrivateKey(using: &random)
    publicKey = key.publicKey.base64
    var update = DeviceUpdate()
    update.privateKey = .set(key)
    device.apply(update, now: now)
  }

  /// The next initiation: a later timestamp, another ephemeral key.
  func initiation() -> [UInt8] {
    device.goDown()
    // Past Rekey-Timeout on its own clock; on the responder's, just later than the one before.
    now.monotonic += 6_000_000_000
    now.wall += 20_000_000
    device.comeUp(now: now)
    for case .send(let message, _, _) in device.takeActions() {
      return message.withUnsafeBytes { Array($0) }
    }
    preconditionFailure("a device with a key, an endpoint and something to say sends an initiation")
  }

  /// Takes the cookie out of a responder's answer to the last initiation: later ones carry it.
  func take(cookieReply bytes: [UInt8]) {
    guard let message = bytes.withUnsafeBytes({ ControlMessage($0) }) else { return }
    device.handle(message, from: PackedPath(Path(to: Stranger.nowhere)), now: now)
  }

  /// `count` initiations of as many strangers.
  func initiations(_ count: Int) throws -> [[UInt8]] {
    try (0..<count).map { _ in
      try becomeSomeoneElse()
      return initiation()
    }
  }

  private static let nowhere = Endpoint(address: .v4(0x7F00_0001), port: 1)
}
