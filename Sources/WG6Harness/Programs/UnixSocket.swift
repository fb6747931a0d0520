import CHarness
import Foundation

/// A connection to a Unix socket, written to as text and polled with deadlines.
final class UnixSocket {
  let descriptor: Int32

  init(path: String) throws {
    descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix($0.count - 1)) }
    let length = socklen_t(MemoryLayout<sockaddr_un>.size)
    let code = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, length) }
    }
    guard code == 0 else { throw SystemFailure("connect to \(path)") }
  }

  deinit { close(descriptor) }

  /// Writes all of `text`. Returns false when the other side hung up or would not take it within `seconds`.
  func send(_ text: String, within seconds: Double = 5) -> Bool {
    let bytes = Array(text.utf8)
    var done = 0
    while done < bytes.count {
      var question = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
      guard poll(&question, 1, Int32(seconds * 1000)) > 0 else { return false }
      let flags = Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT)
      let count = bytes.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress! + done, $0.count - done, flags) }
      guard count > 0 else { return false }
      done += count
    }
    return true
  }

  /// Some bytes: none when nothing came within `seconds`, `nil` when the other side hung up.
  func receive(within seconds: Double) -> [UInt8]? {
    var question = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    guard poll(&question, 1, Int32(seconds * 1000) + 1) > 0 else { return [] }
    var buffer = [UInt8](repeating: 0, count: 65_536)
    let count = recv(descriptor, &buffer, buffer.count, 0)
    return count > 0 ? Array(buffer[..<count]) : nil
  }

  /// Says that nothing more will come.
  func finishSending() {
    shutdown(descriptor, Int32(SHUT_WR))
  }
}
