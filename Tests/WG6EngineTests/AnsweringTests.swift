import Glibc
import Logging
import Testing
import WG6Config
import WG6Crypto
import WG6Linux
import WG6Protocol

@testable import WG6Engine

/// An engine's answers on the control socket, each in a network namespace of its own.
@Suite(.enabled(if: NetworkNamespaces.areThere, NetworkNamespaces.absence)) struct `A request to the engine` {
  @Test func `that asks for a port that is taken changes nothing, the mark included`() throws {
    // What the namespace's thread finds is compared here, where it is the test's.
    let (answers, marks) = try NetworkNamespace().inside {
      let engine = try Self.engine()
      var answers: [String] = [], marks: [[UInt32]] = []
      func set(_ port: UInt16, mark: UInt32?) {
        var update = DeviceUpdate()
        update.listenPort = port
        update.firewallMark = mark
        answers.append(Self.answer(to: .set(update), engine))
        marks.append(Self.marks(of: engine))
      }
      set(5001, mark: 7)
      set(try Self.takenPort(), mark: 9)
      answers.append(Self.answer(to: .get, engine))
      // And the sockets that are opened next.
      set(5002, mark: nil)
      return (answers, marks)
    }
    #expect(
      answers == [
        "errno=0\n\n", "errno=-\(EADDRINUSE)\n\n", "listen_port=5001\nfwmark=7\nerrno=0\n\n", "errno=0\n\n",
      ])
    #expect(marks == [[7, 7], [7, 7], [7, 7]])
  }

  @Test func `that asks for packets or keys is refused to all but root, and costs nothing then`() throws {
    let answers = try NetworkNamespace().inside {
      let engine = try Self.engine()
      let refused = [ControlRequest.capture(CaptureFilter()), .keyLog].map { Self.answer(to: $0, engine) }
      let hadKeyLog = engine.device.hasKeyLog
      return refused + ["\(hadKeyLog)"]
    }
    #expect(answers == ["errno=-\(EPERM)\n\n", "errno=-\(EPERM)\n\n", "false"])
  }

  private static func engine() throws -> Engine {
    var sources = Engine.Sources(interface: "wg0")
    sources.controlDescriptor = try listener()
    return try Engine(sources, log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
  }

  /// - Parameter caller: by default a process of whom nothing is known.
  private static func answer(
    to request: ControlRequest, _ engine: Engine,
    of caller: ControlCaller = ControlCaller(at: OwnedDescriptor(open("/dev/null", O_RDONLY | O_CLOEXEC)))
  ) -> String {
    var text = WipedBytes()
    engine.answer(request, of: caller, into: &text)
    return text.withBytes { $0.withUnsafeBytes { String(decoding: $0, as: UTF8.self) } }
  }

  /// What the kernel puts on datagrams of the IPv4 and of the IPv6 socket.
  private static func marks(of engine: Engine) -> [UInt32] {
    [false, true].map { isIPv6 in
      var mark: UInt32 = .max
      var size = socklen_t(MemoryLayout<UInt32>.size)
      getsockopt(engine.wires.sockets.descriptor(isIPv6: isIPv6), SOL_SOCKET, SO_MARK, &mark, &size)
      return mark
    }
  }

  /// A socket that nobody connects to.
  private static func listener() throws -> Int32 {
    let listener = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    // Without a path, the kernel chooses a name that is no file's.
    let result = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(listener, $0, socklen_t(MemoryLayout<sa_family_t>.size))
      }
    }
    try #require(result == 0 && listen(listener, 1) == 0)
    return listener
  }

  /// A port that another socket of this namespace has, for as long as the test runs.
  private static func takenPort() throws -> UInt16 {
    let other = try UDPSockets()
    let port = try other.open(port: 5003, mark: 0).port
    // Copies hold the port until the process ends, in a namespace of its own.
    _ = dup(other.descriptor(isIPv6: false))
    _ = dup(other.descriptor(isIPv6: true))
    return port
  }
}
