import CLinux
import Glibc
import SystemPackage
import WG6Crypto

/// Where daemons listen for their configuration (wireguard.com/xplatform).
public enum ControlSocket {
  public static let directory = "/var/run/wireguard"

  /// Whether an interface can have this name; it becomes a file's name too. wg-quick's rule, less `.` and `..`.
  public static func isInterfaceName(_ name: String) -> Bool {
    guard (1...longestName).contains(name.utf8.count), name != ".", name != ".." else { return false }
    return name.utf8.allSatisfy { character in
      switch character {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"),
        UInt8(ascii: "_"), UInt8(ascii: "="), UInt8(ascii: "+"), UInt8(ascii: "."), UInt8(ascii: "-"):
        true
      default: false
      }
    }
  }

  /// What keeps `name` from being an interface's, in words; `nil` where nothing does.
  public static func nameProblem(_ name: String) -> String? {
    if isInterfaceName(name) { return nil }
    if name.utf8.count > longestName {
      return "'\(name)' is \(name.utf8.count) characters long, and an interface's name has at most \(longestName)"
    }
    return "'\(name)' is no interface's name: expected 1 to \(longestName) letters, digits and _ = + . -"
  }

  /// IFNAMSIZ less its NUL.
  private static let longestName = 15

  public static func path(of interface: String) -> String {
    "\(directory)/\(interface).sock"
  }

  /// The interfaces that a daemon answers for now, in the directory's order. Sockets that no process listens on are
  /// skipped; one that only root may ask counts.
  public static func interfaces() throws(Errno) -> [String] {
    let names: [String]
    do {
      names = try Directory.names(in: directory)
    } catch .noSuchFileOrDirectory {
      return []
    }
    return names.filter { $0.hasSuffix(".sock") }.map { String($0.dropLast(".sock".count)) }
      .filter { isInterfaceName($0) && isServed($0) }
  }

  /// Whether a daemon answers for `interface`, or might if this process had the right to ask it.
  private static func isServed(_ interface: String) -> Bool {
    do {
      _ = try ControlConnection(to: interface, waits: false)
      return true
    } catch {
      return error == .timedOut || error == .permissionDenied
    }
  }

  /// Whether a daemon answers for `interface`.
  public static func isAlive(_ interface: String) -> Bool {
    do {
      _ = try ControlConnection(to: interface, waits: false)
      return true
    } catch {
      // It listens, and is too busy to answer.
      return error == .timedOut
    }
  }

  /// Removes a socket that a dead daemon left behind; returns whether there was one.
  @discardableResult
  public static func removeStale(_ interface: String) -> Bool {
    do {
      _ = try ControlConnection(to: interface)
      return false
    } catch {
      return unsafe error == .connectionRefused && unlink(path(of: interface)) == 0
    }
  }
}

/// A connection to a daemon's control socket; closed when it ends.
public struct ControlConnection: ~Copyable {
  private let descriptor: FileDescriptor
  private var received: WipedBytes
  /// What the daemon has sent beside its answers; the first of it.
  private var attachment: OwnedDescriptor?

  /// How long a daemon may take for anything before it counts as stuck, as one does that was stopped.
  private static let patience = timeval(tv_sec: 10, tv_usec: 0)

  /// Throws `noSuchFileOrDirectory` where there is no socket, `connectionRefused` where nobody listens on it, `timedOut`
  /// where who listens has not taken in others for 10 s, or at once unless this call `waits`.
  public init(to interface: String, waits: Bool = true) throws(Errno) {
    let connected = try ControlConnection.connect(to: interface, waits: waits)
    descriptor = connected
    received = WipedBytes()
    attachment = nil
  }

  deinit {
    try? descriptor.close()
  }

  /// Sends `request` and hands the answer to `line`, one line at a time without its line feed, until that returns `true`.
  /// Throws `connectionReset` where the daemon hangs up before, and `timedOut` where it says nothing for 10 s.
  public mutating func exchange(_ request: RawSpan, line: (RawSpan) -> Bool) throws(Errno) {
    try send(request)
    var searched = 0
    while true {
      let (consumed, isDone) = received.withBytes { bytes in
        ControlConnection.lines(of: bytes, searched: searched, line)
      }
      received.removeFirst(consumed)
      if isDone { return }
      searched = received.count
      try receive()
    }
  }

  /// The descriptor that the daemon sent with its answer; nil where there was none, or it was taken.
  public mutating func takeAttachment() -> OwnedDescriptor? { attachment.take() }

  /// To wait at, for what the daemon says unasked and for its end.
  public var rawValue: Int32 { descriptor.rawValue }

  /// Hands what the daemon has said unasked to `line`, one whole line at a time, and reads once, if there is something to
  /// read. Throws `connectionReset` where the daemon has hung up.
  public mutating func read(_ line: (RawSpan) -> Void) throws(Errno) {
    guard isReadable(descriptor.rawValue, within: 0) else { return take(line) }
    do {
      try receive()
    } catch {
      take(line)
      throw error
    }
    take(line)
  }

  private mutating func take(_ line: (RawSpan) -> Void) {
    let (consumed, _) = received.withBytes { bytes in
      ControlConnection.lines(of: bytes, searched: 0) {
        line($0)
        return false
      }
    }
    received.removeFirst(consumed)
  }

  /// The process that listens; nil if it has ended, or can't be seen from here. A daemon that was handed its socket is
  /// another process than the one that listened.
  public func listener() -> ForeignProcess? {
    let number = linux_peer_process(descriptor.rawValue)
    return number > 0 ? try? ForeignProcess(number) : nil
  }

  /// Waits until the daemon hangs up, which it does when it ends; returns whether it did in time. Nothing may be asked of it.
  public func waitForHangUp(milliseconds: Int32) -> Bool {
    isReadable(descriptor.rawValue, within: milliseconds)
  }

  private static func connect(to interface: String, waits: Bool) throws(Errno) -> FileDescriptor {
    guard ControlSocket.isInterfaceName(interface) else { throw .invalidArgument }
    let manner = waits ? 0 : SOCK_NONBLOCK.rawValue
    let raw = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | manner), 0)
    guard raw >= 0 else { throw Errno(rawValue: errno) }
    var patience = patience
    for option in [SO_SNDTIMEO, SO_RCVTIMEO] {
      unsafe setsockopt(raw, SOL_SOCKET, option, &patience, socklen_t(MemoryLayout<timeval>.size))
    }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let path = ControlSocket.path(of: interface)
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path.utf8) }
    let result = unsafe withUnsafePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe Glibc.connect(raw, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    if result == 0 { return FileDescriptor(rawValue: raw) }
    let failure = lastError
    close(raw)
    throw failure
  }

  private func send(_ request: RawSpan) throws(Errno) {
    var sent = 0
    while sent < request.byteCount {
      let rest = request.extracting(sent..<request.byteCount)
      let count = unsafe rest.withUnsafeBytes {
        unsafe Glibc.send(descriptor.rawValue, $0.baseAddress!, $0.count, Int32(MSG_NOSIGNAL))
      }
      if count >= 0 {
        sent += count
      } else if errno != EINTR {
        throw ControlConnection.lastError
      }
    }
  }

  /// The system's last error, for which a daemon that is stuck has been waited long enough.
  private static var lastError: Errno { errno == EAGAIN ? .timedOut : Errno(rawValue: errno) }

  private mutating func receive() throws(Errno) {
    let descriptor = descriptor.rawValue
    var arrived: Int32 = -1
    defer { attach(arrived) }
    unsafe try received.append(upTo: 65536) { (buffer: UnsafeMutableRawBufferPointer) throws(Errno) -> Int in
      while true {
        let count = unsafe linux_receive_descriptor(descriptor, buffer.baseAddress!, buffer.count, &arrived)
        if count > 0 { return count }
        if count == 0 { throw .connectionReset }
        if errno != EINTR { throw ControlConnection.lastError }
      }
    }
  }

  /// Keeps a descriptor that has come, if it is the first.
  private mutating func attach(_ arrived: Int32) {
    guard arrived >= 0 else { return }
    if attachment == nil { attachment = OwnedDescriptor(arrived) } else { close(arrived) }
  }

  /// Hands out every whole line; returns how many bytes that were, and whether the last was the answer's end. The first
  /// `searched` bytes hold no line feed.
  private static func lines(of bytes: RawSpan, searched: Int, _ line: (RawSpan) -> Bool) -> (Int, Bool) {
    var start = 0
    var index = searched
    while index < bytes.byteCount {
      if unsafe bytes.unsafeLoad(fromByteOffset: index, as: UInt8.self) == UInt8(ascii: "\n") {
        let isDone = line(bytes.extracting(start..<index))
        start = index + 1
        if isDone { return (start, true) }
      }
      index += 1
    }
    return (start, false)
  }
}
