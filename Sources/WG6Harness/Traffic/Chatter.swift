import CHarness
import Foundation
import Synchronization

/// Programs of a host that want to say something all the time, each in its own way and whatever answer they get.
///
/// One thread inside the host's namespace takes them in turn, a round every 20 ms.
final class Chatter: Sendable {
  /// A way of sending.
  enum Way: Sendable, CustomStringConvertible {
    /// Datagrams from a socket that looks its way up each time; `through` an interface whatever the routes say.
    case datagrams(String, port: Int, through: String? = nil)
    /// Datagrams from a connected socket, which remembers its way; `from` an address of its own.
    case connectedDatagrams(String, port: Int, from: String? = nil, sourcePort: Int = 0)
    /// A new connection each time; the last dozen stay open and repeat what is not answered.
    case connections(String, port: Int)
    /// One connection that was there before, with something to send each time.
    case oldConnection(String, port: Int)
    /// Packets of no known transport; over IPv4 with a header that the program wrote.
    case raw(String)

    var target: String {
      switch self {
      case .datagrams(let target, _, _), .connectedDatagrams(let target, _, _, _), .connections(let target, _),
        .oldConnection(let target, _), .raw(let target):
        target
      }
    }

    var description: String {
      switch self {
      case .datagrams(_, let port, let interface):
        "UDP to \(target):\(port)" + (interface.map { " through \($0)" } ?? "")
      case .connectedDatagrams(_, let port, let source, _):
        "connected UDP to \(target):\(port)" + (source.map { " from \($0)" } ?? "")
      case .connections(_, let port): "TCP to \(target):\(port)"
      case .oldConnection(_, let port): "an old TCP connection to \(target):\(port)"
      case .raw: "raw packets to \(target)"
      }
    }
  }

  let wayCount: Int
  private let tries = Atomic(0)
  private let stops = Atomic(false)
  private let ready = Mutex<Result<Void, any Error>?>(nil)
  private let thread = Mutex<Background?>(nil)

  /// Starts; returns when every socket is there and old connections stand.
  init(on host: Host, _ ways: [Way]) throws {
    wayCount = ways.count
    let namespace = host.namespace
    let begun = DispatchSemaphore(value: 0)
    let work = Background { [self] in
      let mouths: [Mouth]
      do {
        guard Host.enter(namespace) else { throw SystemFailure("enter \(namespace)") }
        mouths = try ways.map(Mouth.init)
        ready.withLock { $0 = .success(()) }
      } catch {
        ready.withLock { $0 = .failure(error) }
        begun.signal()
        return
      }
      begun.signal()
      while !stops.load(ordering: .relaxed) {
        for mouth in mouths { mouth.speak() }
        tries.add(mouths.count, ordering: .relaxed)
        usleep(20_000)
      }
    }
    thread.withLock { $0 = work }
    begun.wait()
    try ready.withLock { $0! }.get()
  }

  /// How often something was tried so far.
  var attempts: Int { tries.load(ordering: .relaxed) }

  func stop() {
    stops.store(true, ordering: .relaxed)
    thread.withLock { $0.take() }?.join()
  }
}

/// A way of sending with its sockets; of the thread that made it.
private final class Mouth {
  private let way: Chatter.Way
  private let target: SocketAddress
  private var sockets: [Int32] = []

  init(_ way: Chatter.Way) throws {
    self.way = way
    switch way {
    case .datagrams(let text, let port, _), .connectedDatagrams(let text, let port, _, _),
      .connections(let text, let port),
      .oldConnection(let text, let port):
      target = try SocketAddress(text, port)
    case .raw(let text): target = try SocketAddress(text, 0)
    }
    switch way {
    case .datagrams(_, _, let interface):
      let socket = try open(SOCK_DGRAM)
      var on: Int32 = 1
      setsockopt(socket, SOL_SOCKET, SO_BROADCAST, &on, socklen_t(MemoryLayout<Int32>.size))
      if let interface, setsockopt(socket, SOL_SOCKET, SO_BINDTODEVICE, interface, socklen_t(interface.utf8.count)) != 0
      {
        throw SystemFailure("bind a socket to \(interface)")
      }
    case .connectedDatagrams(_, _, let source, let sourcePort):
      let socket = try open(SOCK_DGRAM)
      if let source, try SocketAddress(source, sourcePort).withPointer({ bind(socket, $0, $1) }) != 0 {
        throw SystemFailure("bind a socket to \(source)")
      }
      guard target.withPointer({ connect(socket, $0, $1) }) == 0 else { throw SystemFailure("connect to \(way)") }
    case .oldConnection:
      let socket = try open(SOCK_STREAM, blocks: true)
      guard target.withPointer({ connect(socket, $0, $1) }) == 0 else { throw SystemFailure("connect to \(way)") }
    case .connections: break
    case .raw: _ = try open(SOCK_RAW, transport: target.isIPv6 ? 253 : Int32(IPPROTO_RAW))
    }
  }

  deinit { for socket in sockets { close(socket) } }

  /// Tries once. What comes of it is the network's.
  func speak() {
    switch way {
    case .datagrams:
      _ = target.withPointer { sendto(sockets[0], "hello", 5, Self.flags, $0, $1) }
    case .connectedDatagrams, .oldConnection:
      _ = send(sockets[0], "hello", 5, Self.flags)
    case .connections:
      guard let socket = try? open(SOCK_STREAM) else { return }
      _ = target.withPointer { connect(socket, $0, $1) }
      if sockets.count > 12 { close(sockets.removeFirst()) }
    case .raw:
      let packet = target.isIPv6 ? [1, 2, 3, 4] : header
      _ = packet.withUnsafeBytes { bytes in
        target.withPointer { sendto(sockets[0], bytes.baseAddress, bytes.count, Self.flags, $0, $1) }
      }
    }
  }

  private static let flags = Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL)

  /// An IPv4 header of protocol 253 with 4 bytes behind it; the kernel fills in source, length and checksum.
  private var header: [UInt8] {
    [0x45, 0, 0, 24, 0, 0, 0, 0, 64, 253, 0, 0, 0, 0, 0, 0] + target.bytes + [1, 2, 3, 4]
  }

  private func open(_ type: __socket_type, transport: Int32 = 0, blocks: Bool = false) throws -> Int32 {
    let kind = Int32(type.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | (blocks ? 0 : Int32(SOCK_NONBLOCK.rawValue))
    let socket = Glibc.socket(target.isIPv6 ? AF_INET6 : AF_INET, kind, transport)
    guard socket >= 0 else { throw SystemFailure("open a socket for \(way)") }
    sockets.append(socket)
    return socket
  }
}
