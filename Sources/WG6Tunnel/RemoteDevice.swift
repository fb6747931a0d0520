import Glibc
import SystemPackage
import WG6Config
import WG6Crypto
import WG6Linux
import WG6Protocol

/// A device behind its control socket.
public struct RemoteDevice {
  public let interface: String

  public init(interface: String) {
    self.interface = interface
  }

  /// What the daemon, or the way to it, answered instead.
  public struct Failure: Error, CustomStringConvertible {
    public let errno: Int32
    /// Why the daemon's socket can't be trusted.
    fileprivate var problem: String?
    public var reason: String { unsafe problem ?? String(cString: strerror(errno)) }

    init(errno: Int32, problem: String? = nil) {
      self.errno = errno
      self.problem = problem
    }

    /// Whether the daemon ended the connection, or has just ended itself.
    public var isHangUp: Bool { [ECONNRESET, EPIPE, ENODEV].contains(errno) }
    public var description: String { "the daemon does not answer: \(reason)" }
  }

  /// What the device says of itself.
  public func status() throws(Failure) -> DeviceStatus {
    var request = WipedBytes()
    request.append(ControlRequest.getText)
    return try exchange(request)
  }

  /// What it dropped, and nothing else of its status.
  public func drops() throws(Failure) -> DeviceStatus {
    var request = WipedBytes()
    request.append(ControlRequest.dropsText)
    return try exchange(request)
  }

  /// Changes the device; all of `update` or, where the daemon refuses, nothing.
  public func apply(_ update: DeviceUpdate) throws(Failure) {
    var request = WipedBytes(minimumCapacity: 4096)
    update.writeRequest(to: &request)
    _ = try exchange(request)
  }

  /// Asks for something that the daemon goes on with: the connection is its client's for as long as it lasts.
  func open(_ request: borrowing WipedBytes) throws(Failure) -> ControlConnection {
    var answer: ControlAnswer?
    let connection = try connect(request, &answer)
    _ = try RemoteDevice.status(in: answer!)
    return connection
  }

  private func exchange(_ request: borrowing WipedBytes) throws(Failure) -> DeviceStatus {
    var answer: ControlAnswer?
    _ = try connect(request, &answer)
    return try RemoteDevice.status(in: answer!)
  }

  private func connect(
    _ request: borrowing WipedBytes, _ answer: inout ControlAnswer?
  ) throws(Failure) -> ControlConnection {
    // Keys go there. The socket itself is as safe as the directory that it stands in.
    if let problem = RootsDirectory.problem(of: ControlSocket.directory) {
      throw Failure(errno: EACCES, problem: problem)
    }
    do throws(Errno) {
      var connection = try ControlConnection(to: interface)
      var parser = ControlAnswerParser()
      try request.withBytes { (bytes: RawSpan) throws(Errno) in
        try connection.exchange(bytes) { line in
          answer = parser.line(line)
          return answer != nil
        }
      }
      SecretMemory.wipeStack()
      return connection
    } catch {
      // No socket, or nobody behind it: to the caller there is no such device.
      let isAbsent = error == .noSuchFileOrDirectory || error == .connectionRefused || error == .invalidArgument
      throw Failure(errno: isAbsent ? ENODEV : error.rawValue)
    }
  }

  private static func status(in answer: ControlAnswer) throws(Failure) -> DeviceStatus {
    switch answer {
    case .done(let status): return status
    case .refused(let number): throw Failure(errno: number)
    case .invalid(let error): throw Failure(errno: error.errno)
    }
  }
}
