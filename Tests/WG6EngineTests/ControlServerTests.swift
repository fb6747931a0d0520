import CLinux
import Glibc
import SystemPackage
import Testing
import WG6Crypto
import WG6Linux
import WG6Protocol

@testable import WG6Engine

/// The control socket's server, turned by hand.
@Suite struct `The control server` {
  /// A server on a socket of its own, and one client.
  private final class Scene {
    let server: ControlServer
    let poller: Poller
    let client: Int32
    private let path = "/tmp/wg6-control-\(getpid())-\(UInt32.random(in: 0 ... .max)).sock"
    /// Requests answered so far, and how long each answer is.
    var answered = 0
    var answerSize = 100
    /// Done with each request, before the answer is written.
    var onRequest: ((ControlCaller) -> Void)?

    init() throws {
      let listener = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
      var address = sockaddr_un()
      address.sun_family = sa_family_t(AF_UNIX)
      withUnsafeMutableBytes(of: &address.sun_path) { [path] in $0.copyBytes(from: path.utf8) }
      let size = socklen_t(MemoryLayout<sockaddr_un>.size)
      client = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
      let client = client
      withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          precondition(bind(listener, $0, size) == 0 && listen(listener, 8) == 0 && connect(client, $0, size) == 0)
        }
      }
      unlink(path)
      precondition(fcntl(client, F_SETFL, O_NONBLOCK) == 0)
      server = try ControlServer(takingOver: listener)
      poller = try Poller()
      try poller.add(server.listener.rawValue, token: 1, events: Poller.readable | Poller.onArrival)
      turn()
    }

    deinit { close(client) }

    /// One turn of the control thread; a bell of our own keeps it from waiting.
    func turn() {
      let bell = try! Bell()
      bell.ring()
      try! poller.add(bell.descriptor.rawValue, token: 2)
      var ready: [UInt64] = []
      try! poller.wait { token, _ in ready.append(token) }
      for token in ready {
        if token == 1 {
          server.accept(poller) { UInt64($0) << 8 }
        } else if token != 2 {
          server.serve(Int32(token >> 8), poller, token: token) { _, caller, text in
            answered += 1
            onRequest?(caller)
            text.append([UInt8](repeating: UInt8(ascii: "x"), count: answerSize).span.bytes)
          }
        }
      }
    }

    /// Writes as much of `text` as is taken.
    func write(_ text: String) -> Int {
      let bytes = Array(text.utf8)
      return max(send(client, bytes, bytes.count, Int32(MSG_NOSIGNAL)), 0)
    }

    /// What came back by now; `nil` at the end.
    func read() -> [UInt8]? {
      var all: [UInt8] = []
      var buffer = [UInt8](repeating: 0, count: 65536)
      while true {
        let count = recv(client, &buffer, buffer.count, 0)
        if count == 0 { return all.isEmpty ? nil : all }
        if count < 0 { return errno == EAGAIN ? all : nil }
        all += buffer[..<count]
      }
    }
  }

  @Test func `a client that asks and never reads costs one answer at a time`() throws {
    let scene = try Scene()
    scene.answerSize = 4 << 20
    let count = 5000
    #expect(scene.write(String(repeating: "get=1\n\n", count: count)) == count * 7)
    for _ in 0..<20 { scene.turn() }
    #expect(scene.answered == 1)
    // Who reads is served, and the rest is not forgotten.
    scene.answerSize = 100
    var received = 0
    for _ in 0..<2000 where received < (4 << 20) + (count - 1) * 100 {
      scene.turn()
      received += scene.read()?.count ?? 0
    }
    #expect(scene.answered == count)
    #expect(received == (4 << 20) + (count - 1) * 100)
  }

  @Test func `a request may come in pieces of any size`() throws {
    let scene = try Scene()
    for character in "get=1\n\nget=1\n\n" {
      #expect(scene.write(String(character)) == 1)
      scene.turn()
    }
    #expect(scene.answered == 2)
    #expect(scene.read()?.count == 200)
  }

  @Test func `a client that has said all it had to say still gets its answer`() throws {
    let scene = try Scene()
    scene.answerSize = 1 << 20
    _ = scene.write("get=1\n\nget=1\n\n")
    shutdown(scene.client, Int32(SHUT_WR))
    var received = 0
    for _ in 0..<1000 {
      scene.turn()
      guard let bytes = scene.read() else { break }
      received += bytes.count
    }
    #expect(received == 2 << 20)
  }

  @Test func `a line without end is refused, and the connection with it`() throws {
    let scene = try Scene()
    var text: [UInt8] = []
    for _ in 0..<10 {
      _ = scene.write(String(repeating: "a", count: 1000))
      scene.turn()
      text += scene.read() ?? []
    }
    #expect(String(decoding: text, as: UTF8.self) == "errno=-90\n\n")
    #expect(scene.answered == 0)
    // A program that another test starts has the connection too, until it is that program.
    for _ in 0..<1000 where scene.write("get=1\n\n") != 0 { usleep(10_000) }
    #expect(scene.write("get=1\n\n") == 0)
    #expect(scene.answered == 0)
  }

  @Test func `a request that takes too much memory is refused, however short its lines are`() throws {
    let scene = try Scene()
    scene.server.byteLimit = 10_000
    var text: [UInt8] = []
    _ = scene.write("set=1\n")
    for _ in 0..<600 {
      _ = scene.write("replace_peers=true\n")
      scene.turn()
      text += scene.read() ?? []
    }
    #expect(String(decoding: text, as: UTF8.self) == "errno=-7\n\n")
    #expect(scene.answered == 0)
  }

  @Test(.enabled(if: getuid() == 0, "SKIPPED: needs root"))
  func `the socket is its owner's alone, and a daemon's that came after is left in place`() throws {
    let interface = "s\(getpid())", path = ControlSocket.path(of: interface)
    var first: ControlServer? = try ControlServer(for: interface)
    var status = stat()
    try #require(stat(path, &status) == 0)
    #expect(status.st_mode & 0o077 == 0)
    // Who takes the daemon down removes its socket.
    unlink(path)
    #expect(first?.isInPlace == false)
    var second: ControlServer? = try ControlServer(for: interface)
    first = nil
    #expect(second?.isInPlace == true)
    second = nil
    #expect(stat(path, &status) != 0)
  }

  @Test func `a client that leaves in the middle leaves nothing behind`() throws {
    let scene = try Scene()
    scene.answerSize = 4 << 20
    _ = scene.write("get=1\n\nset=1\n")
    scene.turn()
    shutdown(scene.client, Int32(SHUT_RDWR))
    for _ in 0..<3 { scene.turn() }
    #expect(scene.answered == 1)
  }

  @Test func `hands a capture's memory over with the answer, and ends the capture with the connection`() throws {
    let device = Device(using: SystemRandomNumberGenerator())
    var scene: Scene? = try Scene()
    scene!.onRequest = { caller in
      #expect(caller.isTrusted)
      caller.capture = try? CaptureSession(of: device, CaptureFilter())
    }
    #expect(scene!.write("get=1\n\n") == 7)
    scene!.turn()
    var descriptor: Int32 = -1
    var bytes = [UInt8](repeating: 0, count: 200)
    #expect(linux_receive_descriptor(scene!.client, &bytes, bytes.count, &descriptor) == 100)
    try #require(descriptor >= 0)
    // The reader can take nothing from under the daemon.
    #expect(ftruncate(descriptor, 0) != 0 && errno == EPERM)
    let memory = try SharedMemory(takingOver: OwnedDescriptor(descriptor), byteCount: CaptureRing.byteCount)
    let isReadable = CaptureReader(memory.bytes) != nil
    #expect(isReadable)
    #expect(throws: Errno.invalidArgument) {
      let other = OwnedDescriptor(linux_memory_file())
      ftruncate(other.rawValue, CaptureRing.byteCount)
      return try SharedMemory(takingOver: other, byteCount: CaptureRing.byteCount)
    }
    // With this one there are as many as may be; after the client's end there is room for one more.
    var sessions = try (1..<Device.captureLimit).map { _ in try CaptureSession(of: device, CaptureFilter()) }
    #expect(throws: Errno.resourceBusy) { try CaptureSession(of: device, CaptureFilter()) }
    shutdown(scene!.client, Int32(SHUT_RDWR))
    scene!.turn()
    sessions.append(try CaptureSession(of: device, CaptureFilter()))
    #expect(sessions.count == Device.captureLimit)
    scene = nil
  }

  @Test func `hangs up on a client that leaves its key log unread, and keeps no more of it than so much`() throws {
    let scene = try Scene()
    scene.onRequest = { $0.keepsKeyLog = true }
    #expect(scene.write("get=1\n\n") == 7)
    scene.turn()
    #expect(scene.server.hasKeyLogs)
    var line = WipedBytes()
    line.append(String(repeating: "k", count: 9999) + "\n")
    var written = 0
    while scene.server.hasKeyLogs, written < 100 << 20 {
      scene.server.writeToKeyLogs(line, scene.poller) { UInt64($0) << 8 }
      written += line.count
    }
    // What the socket holds comes on top.
    #expect(
      !scene.server.hasKeyLogs && written > ControlServer.logLimit && written < ControlServer.logLimit + (1 << 20))
    while scene.read() != nil {}
  }

  @Test func `writes a key log to each client that keeps one, behind its answer and whole`() throws {
    let scene = try Scene()
    scene.onRequest = { $0.keepsKeyLog = true }
    #expect(scene.write("get=1\n\n") == 7)
    scene.turn()
    var text = WipedBytes()
    text.append("one\n")
    scene.server.writeToKeyLogs(text, scene.poller) { UInt64($0) << 8 }
    scene.server.writeToKeyLogs(text, scene.poller) { UInt64($0) << 8 }
    let got = scene.read() ?? []
    #expect(got == [UInt8](repeating: UInt8(ascii: "x"), count: 100) + Array("one\none\n".utf8))
  }
}
