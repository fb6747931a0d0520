import CLinux
import Glibc
import WG6Linux

/// A client of the control socket as its requests see it: who it is, and what it has beside answers for as long as it is
/// connected.
final class ControlCaller {
  /// Whether the process is root's, or the daemon's own user's.
  let isTrusted: Bool
  /// A capture of this client's. Its memory goes to the client with the next bytes.
  var capture: CaptureSession? {
    didSet { sendsDescriptor = capture != nil }
  }
  /// Whether it gets the keys of handshakes as they happen.
  var keepsKeyLog = false

  private var sendsDescriptor = false

  init(at connection: borrowing OwnedDescriptor) {
    let user = linux_peer_user(connection.rawValue)
    isTrusted = user == 0 || user == Int(geteuid())
  }

  /// Writes what the connection takes; returns bytes written, or -1 with `errno`.
  func send(_ bytes: UnsafeRawBufferPointer, to connection: Int32) -> Int {
    guard sendsDescriptor, let capture else {
      return unsafe Glibc.send(connection, bytes.baseAddress!, bytes.count, Int32(MSG_NOSIGNAL))
    }
    let count = unsafe linux_send_descriptor(
      connection, bytes.baseAddress!, bytes.count, capture.memory.descriptor.rawValue)
    if count > 0 { sendsDescriptor = false }
    return count
  }
}
