import CLinux
import Glibc
import Testing
import WG6Protocol

@testable import WG6Linux

@Suite struct `The UDP sockets` {
  private func loopback(_ port: UInt16) -> PackedPath {
    PackedPath(Path(to: Endpoint(address: .v4(0x7F00_0001), port: port)))
  }

  /// A pair of sockets that can stand in an expectation.
  private final class Pair {
    private let sockets: UDPSockets

    init() throws { sockets = try UDPSockets() }

    func open(port: UInt16 = 0) throws -> UInt16 { try sockets.open(port: port, mark: 0).port }
    func close() throws { try sockets.close() }
    var numbers: [Int32] { [sockets.descriptor(isIPv6: false), sockets.descriptor(isIPv6: true)] }

    /// - Parameter isReply: whether it goes as a cookie reply does.
    func send(_ text: String, along path: PackedPath, isReply: Bool = false) -> Bool {
      var bytes = Array(text.utf8)
      return bytes.withUnsafeMutableBytes { bytes in
        var run = DatagramRun(base: bytes.baseAddress!, byteCount: bytes.count, segmentSize: bytes.count)
        return withUnsafeMutablePointer(to: &run) {
          let runs = UnsafeMutableBufferPointer(start: $0, count: 1)
          return (isReply ? sockets.sendReply(runs, along: path) : sockets.send(runs, along: path)).count == 1
        }
      }
    }

    var haveAskedKernel: Bool { sockets.sources.hasAskedKernel }

    /// Where datagrams went that the network has refused since the last time.
    func refusals(isIPv6: Bool) -> [PackedPath] {
      var paths: [PackedPath] = []
      for _ in 0..<100 {
        switch sockets.nextRefusal(isIPv6: isIPv6) {
        case .none: return paths
        case .other: continue
        case .refused(let path): paths.append(path)
        }
      }
      return paths
    }

    func receive() -> (text: String, path: PackedPath)? {
      withUnsafeTemporaryAllocation(byteCount: 2048, alignment: 8) { buffer in
        var datagram = linux_datagram()
        datagram.buffer = buffer.baseAddress!
        datagram.capacity = 2048
        guard linux_receive(numbers[0], 0, &datagram, 1) == 1 else { return nil }
        return (String(decoding: buffer[..<Int(datagram.length)], as: UTF8.self), datagram.path.packed(isIPv6: false))
      }
    }
  }

  @Test func `a reply to strangers is sent without looking its way up`() throws {
    let pair = try Pair()
    let port = try pair.open()
    let here = IPAddress.v4(0x7F00_0001)
    let path = PackedPath(Path(to: Endpoint(address: here, port: port), from: here, sourceInterface: 1))
    for _ in 0..<3 { #expect(pair.send("cookie", along: path, isReply: true)) }
    // From an address that this machine has no longer: what would choose another asks the kernel, too.
    let former = Path(to: Endpoint(address: here, port: port), from: .v4(0xC000_024D), sourceInterface: 1)
    #expect(!pair.send("cookie", along: PackedPath(former), isReply: true))
    #expect(!pair.haveAskedKernel)
    #expect(pair.send("data", along: path))
    #expect(pair.haveAskedKernel)
  }

  @Test func `keep their numbers while what stands behind them changes`() throws {
    let sockets = try Pair()
    let numbers = sockets.numbers
    #expect(sockets.receive() == nil)
    #expect(!sockets.send("nowhere", along: loopback(9)))
    let first = try sockets.open(port: 0)
    let second = try sockets.open(port: 0)
    #expect(first != 0 && second != 0 && first != second)
    #expect(sockets.numbers == numbers)
    #expect(sockets.send("self", along: loopback(second)))
    #expect(sockets.receive()?.text == "self")
    try sockets.close()
    #expect(!sockets.send("closed", along: loopback(second)))
    // The port is free again.
    _ = try sockets.open(port: second)
  }

  @Test func `refuse a port that another has, and stay as they were`() throws {
    let sockets = try Pair(), other = try Pair()
    let port = try sockets.open(port: 0)
    let taken = try other.open(port: 0)
    #expect(throws: (any Error).self) { try sockets.open(port: taken) }
    #expect(other.send("still there", along: loopback(port)))
    #expect(sockets.receive()?.text == "still there")
  }

  @Test(arguments: [false, true])
  func `tell which datagrams the network refused, and lose no other for it`(isIPv6: Bool) throws {
    let sockets = try Pair(), closed = try Pair(), peer = try Pair()
    _ = try sockets.open(port: 0)
    let peerPort = try peer.open(port: 0)
    let deadPort = try closed.open(port: 0)
    try closed.close()
    func place(_ port: UInt16) -> PackedPath {
      PackedPath(Path(to: Endpoint(address: isIPv6 ? .v6(high: 0, low: 1) : .v4(0x7F00_0001), port: port)))
    }
    for round in 0..<20 {
      #expect(sockets.send("anyone there?", along: place(deadPort)))
      // On the loopback interface the answer is here before the call returns; it must not cost the next datagram.
      #expect(sockets.send("round \(round)", along: isIPv6 ? place(peerPort) : loopback(peerPort)))
      if !isIPv6 { #expect(peer.receive()?.text == "round \(round)") }
    }
    let refusals = sockets.refusals(isIPv6: isIPv6)
    #expect(refusals.count == 20)
    #expect(refusals.allSatisfy { $0.endpoint == place(deadPort).endpoint })
    #expect(sockets.refusals(isIPv6: !isIPv6).isEmpty)
  }

  @Test func `answer from the address that was written to, unless it has gone`() throws {
    let sockets = try Pair(), peer = try Pair()
    let port = try sockets.open(port: 0)
    let peerPort = try peer.open(port: 0)
    let elsewhere = PackedPath(Path(to: Endpoint(address: .v4(0x7F00_0203), port: port)))
    #expect(peer.send("hello", along: elsewhere))
    let arrived = try #require(sockets.receive())
    #expect(arrived.path.source.high == 0x7F00_0203 << 32)
    #expect(arrived.path.port == peerPort)
    #expect(sockets.send("back", along: arrived.path))
    let answer = try #require(peer.receive())
    #expect(answer.path.remote.high == 0x7F00_0203 << 32)
    let gone = PackedPath(
      Path(to: Endpoint(address: .v4(0x7F00_0001), port: peerPort), from: .v4(0xC633_6401), sourceInterface: 1))
    #expect(sockets.send("anyway", along: gone))
    #expect(peer.receive()?.text == "anyway")
  }
}
