import Foundation

/// A client of a daemon's control socket that speaks raw bytes, as `wg` never would.
final class ControlSocket {
  private let socket: UnixSocket

  /// Connects to the control socket of `interface` on a host.
  init(on host: Host, interface: String) throws {
    socket = try UnixSocket(path: host.privateDirectory("/run/wireguard") + "/\(interface).sock")
  }

  /// A key as the protocol of the control socket writes it.
  static func hexadecimal(_ key: String) -> String {
    (Data(base64Encoded: key) ?? Data()).map { String(format: "%02x", $0) }.joined()
  }

  /// Writes `text`, as much of it as the daemon cares to read: one that hung up is no error here.
  func send(_ text: String) {
    _ = socket.send(text)
  }

  /// Says that nothing more will come.
  func finishSending() {
    socket.finishSending()
  }

  /// The error number of the next answer; `nil` when the daemon hangs up, or says nothing within `seconds`.
  func errorNumber(within seconds: Double = 5) -> Int? {
    var text = ""
    let end = Clock.seconds + seconds
    while !text.hasSuffix("\n\n"), Clock.seconds < end, let bytes = socket.receive(within: 0.1) {
      text += String(decoding: bytes, as: UTF8.self)
    }
    guard let line = text.split(separator: "\n").last(where: { $0.hasPrefix("errno=") }) else { return nil }
    return Int(line.dropFirst("errno=".count))
  }
}
