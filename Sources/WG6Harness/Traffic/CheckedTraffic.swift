import CHarness
import Foundation
import Synchronization

/// A TCP stream and numbered UDP datagrams both ways between two hosts, every byte of which is compared where it arrives.
///
/// Both ends live in this process and know the bytes beforehand: position n of a stream is byte n modulo a prime of a
/// random table, so that a byte that is changed, left out, repeated or moved is seen. One thread drives all four sockets.
final class CheckedTraffic: Sendable {
  /// What went through so far.
  struct Figures: Sendable {
    /// Bytes that arrived in order, from the near host to the far one and back.
    var streamed = (there: 0, back: 0)
    var wrongBytes = 0
    /// Datagrams of both ways together.
    var datagramsSent = 0
    var datagramsArrived = 0
    var datagramsTwice = 0
    var datagramsWrong = 0
    /// Why the stream broke, if it did.
    var broken: String?

    /// Whether all that arrived was right, and the stream arrived.
    var isSound: Bool { broken == nil && wrongBytes == 0 && datagramsWrong == 0 && datagramsTwice == 0 }

    var lossPercent: Double {
      datagramsSent == 0 ? 0 : 100 * Double(datagramsSent - datagramsArrived) / Double(datagramsSent)
    }
  }

  /// How much and how fast.
  struct Load: Sendable {
    /// Bytes of the stream each way; it never ends by itself without.
    var streamBytes = Int.max
    /// Bytes a second of the stream, each way; as fast as it goes without.
    var streamRate: UInt32?
    /// Datagrams a second each way.
    var datagramRate = 100.0
    /// Bytes in a datagram, drawn from here for each.
    var datagramSizes = 16...1200
  }

  private let sockets: Sockets
  private let load: Load
  private let table: [UInt8]
  private let figuresNow = Mutex(Figures())
  private let stops = Mutex(false)
  private let ended = DispatchSemaphore(value: 0)

  /// Connects both ends and starts. `near` calls `far`.
  init(
    from near: (host: Host, address: String), to far: (host: Host, address: String), port: Int = 7100,
    load: Load = Load(), random: SeededGenerator, patience: Double = 60
  ) throws {
    self.load = load
    var random = random
    table = (0..<Self.period).map { _ in UInt8.random(in: 0...255, using: &random) }
    sockets = try Sockets(near: near, far: far, port: port, patience: patience)
    if let rate = load.streamRate { sockets.pace(rate) }
    Thread { [self] in
      run()
      ended.signal()
    }.start()
  }

  var figures: Figures { figuresNow.withLock { $0 } }

  /// Sends no more, waits until what is under way has arrived, at most `seconds`, and returns the figures.
  func finish(within seconds: Double = 30) -> Figures {
    stops.withLock { $0 = true }
    // Whoever asks again finds it ended.
    if ended.wait(timeout: .now() + seconds) == .success { ended.signal() }
    return figures
  }

  /// A prime, so that no power of two, as buffers like to have, leads back to the same bytes.
  private static let period = 1_048_573

  // MARK: The thread

  private func run() {
    var ways = [Way(load, number: 0, sockets), Way(load, number: 1, sockets)]
    var questions = sockets.all.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
    var nextDatagram = Clock.seconds
    var silentSince: Double?
    while true {
      let now = Clock.seconds
      let stopping = stops.withLock { $0 }
      if !stopping, load.datagramRate > 0, now >= nextDatagram {
        for index in ways.indices { ways[index].sendDatagram(table) }
        // What was missed while this thread had no processor is not made up for in a burst.
        nextDatagram = max(nextDatagram + 1 / load.datagramRate, now)
      }
      for index in 0..<2 { ways[index].maySend = !stopping }
      for (index, way) in ways.enumerated() {
        questions[index].events = Int16(POLLIN) | (way.wantsToSend ? Int16(POLLOUT) : 0)
      }
      let patience = stopping ? 0.02 : min(0.1, max(0, nextDatagram - Clock.seconds))
      _ = poll(&questions, nfds_t(questions.count), Int32((patience * 1000).rounded(.up)))
      var heard = false
      for index in ways.indices {
        if questions[index].revents & Int16(POLLOUT) != 0 { ways[index].sendStream(table) }
        heard = ways[index].receive(table) || heard
      }
      publish(ways)
      guard stopping else { continue }
      let complete = ways.allSatisfy(\.isComplete)
      if heard { silentSince = nil } else { silentSince = silentSince ?? now }
      // A datagram that was lost is never complete: a quarter of a second of silence tells.
      if complete || ways.contains(where: { $0.broken != nil }) { return }
      if let silentSince, now - silentSince > 0.25, ways.allSatisfy(\.streamIsComplete) { return }
      if let silentSince, now - silentSince > 60 { return }
    }
  }

  private func publish(_ ways: [Way]) {
    figuresNow.withLock { figures in
      figures.streamed = (ways[0].streamReceived, ways[1].streamReceived)
      figures.wrongBytes = ways.reduce(0) { $0 + $1.wrongBytes }
      figures.datagramsSent = ways.reduce(0) { $0 + Int($1.datagramsSent) }
      figures.datagramsArrived = ways.reduce(0) { $0 + $1.datagramsArrived }
      figures.datagramsTwice = ways.reduce(0) { $0 + $1.datagramsTwice }
      figures.datagramsWrong = ways.reduce(0) { $0 + $1.datagramsWrong }
      figures.broken = ways.lazy.compactMap(\.broken).first
    }
  }
}

/// One direction: what was sent, and what of it has arrived.
private struct Way {
  var maySend = true
  private(set) var streamSent = 0
  private(set) var streamReceived = 0
  private(set) var wrongBytes = 0
  private(set) var datagramsSent: UInt64 = 0
  private(set) var datagramsArrived = 0
  private(set) var datagramsTwice = 0
  private(set) var datagramsWrong = 0
  private(set) var broken: String?
  private var arrived: [Bool] = []
  private let load: CheckedTraffic.Load
  /// Sets the two directions' bytes apart.
  private let number: Int
  private let sender: (stream: Int32, datagrams: DatagramSocket)
  private let receiver: (stream: Int32, datagrams: DatagramSocket)
  private let target: SocketAddress

  init(_ load: CheckedTraffic.Load, number: Int, _ sockets: Sockets) {
    self.load = load
    self.number = number
    let near = (stream: sockets.nearStream, datagrams: sockets.nearDatagrams)
    let far = (stream: sockets.farStream, datagrams: sockets.farDatagrams)
    sender = number == 0 ? near : far
    receiver = number == 0 ? far : near
    target = number == 0 ? sockets.farAddress : sockets.nearAddress
  }

  var wantsToSend: Bool { maySend && broken == nil && streamSent < load.streamBytes }
  var streamIsComplete: Bool { streamReceived == streamSent }
  var isComplete: Bool { streamIsComplete && datagramsArrived == Int(datagramsSent) }

  /// Writes as much of the stream as there is room for, at most 64 KiB.
  mutating func sendStream(_ table: [UInt8]) {
    let start = place(of: streamSent, table)
    let count = min(table.count - start, 65_536, load.streamBytes - streamSent)
    let done = table.withUnsafeBytes {
      send(sender.stream, $0.baseAddress! + start, count, Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL))
    }
    if done > 0 { streamSent += done } else if errno != EAGAIN { broken = String(cString: strerror(errno)) }
  }

  /// Eight bytes of number, then bytes of the table.
  mutating func sendDatagram(_ table: [UInt8]) {
    sender.datagrams.send(datagram(datagramsSent, table), to: target)
    datagramsSent += 1
  }

  /// Takes in and compares what has arrived; returns whether anything had.
  mutating func receive(_ table: [UInt8]) -> Bool {
    var heard = receiveStream(table)
    while let (bytes, _) = receiver.datagrams.receive(within: 0) {
      heard = true
      let sequence = bytes.prefix(8).reversed().reduce(0) { $0 << 8 | UInt64($1) }
      guard bytes.count >= 8, sequence < datagramsSent, bytes == datagram(sequence, table) else {
        datagramsWrong += 1
        continue
      }
      while arrived.count <= Int(sequence) { arrived.append(false) }
      if arrived[Int(sequence)] { datagramsTwice += 1 } else { datagramsArrived += 1 }
      arrived[Int(sequence)] = true
    }
    return heard
  }

  private mutating func receiveStream(_ table: [UInt8]) -> Bool {
    var heard = false
    // Bounded, so that the other sockets have their turn.
    for _ in 0..<16 {
      let (count, wrong, code) = withUnsafeTemporaryAllocation(byteCount: 65_536, alignment: 16) { buffer in
        let start = place(of: streamReceived, table)
        let room = min(buffer.count, table.count - start)
        let count = recv(receiver.stream, buffer.baseAddress, room, Int32(MSG_DONTWAIT))
        let code = errno
        let wrong = table.withUnsafeBytes { expected -> Int in
          guard count > 0, memcmp(buffer.baseAddress!, expected.baseAddress! + start, count) != 0 else { return 0 }
          return (0..<count).count { buffer[$0] != expected[start + $0] }
        }
        return (count, wrong, code)
      }
      guard count > 0 else {
        if count == 0 {
          broken = "the stream ended"
        } else if code != EAGAIN {
          broken = String(cString: strerror(code))
        }
        return heard
      }
      heard = true
      streamReceived += count
      wrongBytes += wrong
    }
    return heard
  }

  private func place(of position: Int, _ table: [UInt8]) -> Int {
    (position + number * 524_287) % table.count
  }

  private func datagram(_ sequence: UInt64, _ table: [UInt8]) -> [UInt8] {
    let start = Int((sequence * 7919 + UInt64(number)) % UInt64(table.count - 65_536))
    let spread = load.datagramSizes.count
    let size = max(8, load.datagramSizes.lowerBound + (Int(table[start]) << 8 | Int(table[start + 1])) % spread)
    return (0..<8).map { UInt8(truncatingIfNeeded: sequence >> (8 * $0)) } + table[start..<start + size - 8]
  }
}

/// The four sockets of both ends.
private final class Sockets: Sendable {
  let nearStream: Int32
  let farStream: Int32
  let nearDatagrams: DatagramSocket
  let farDatagrams: DatagramSocket
  let nearAddress: SocketAddress
  let farAddress: SocketAddress

  /// In the order of the ways that *send* on the first two: near to far, far to near.
  var all: [Int32] { [nearStream, farStream, nearDatagrams.descriptor, farDatagrams.descriptor] }

  init(
    near: (host: Host, address: String), far: (host: Host, address: String), port: Int, patience: Double
  ) throws {
    nearDatagrams = try DatagramSocket(on: near.host, address: near.address, port: port)
    farDatagrams = try DatagramSocket(on: far.host, address: far.address, port: port)
    nearAddress = try SocketAddress(near.address, port)
    let address = try SocketAddress(far.address, port)
    farAddress = address
    let family = far.address.contains(":") ? AF_INET6 : AF_INET
    let listener = try far.host.socket(family: family, type: SOCK_STREAM)
    defer { close(listener) }
    let on: Int32 = 1
    withUnsafePointer(to: on) { _ = setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, $0, 4) }
    guard address.withPointer({ bind(listener, $0, $1) }) == 0, listen(listener, 1) == 0 else {
      throw SystemFailure("listen on \(far.address) port \(port) of \(far.host.name)")
    }
    let caller = try near.host.socket(family: family, type: SOCK_STREAM)
    nearStream = caller
    _ = fcntl(caller, F_SETFL, O_NONBLOCK)
    // From its own address, which may decide about its route.
    guard try SocketAddress(near.address, 0).withPointer({ bind(caller, $0, $1) }) == 0 else {
      throw SystemFailure("bind \(near.address) of \(near.host.name)")
    }
    _ = address.withPointer { connect(caller, $0, $1) }
    var question = pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
    guard poll(&question, 1, Int32(patience * 1000)) > 0 else {
      close(caller)
      throw Overdue(what: "\(near.host.name) connects to \(far.address) over TCP", seconds: patience)
    }
    farStream = accept(listener, nil, nil)
    _ = fcntl(farStream, F_SETFL, O_NONBLOCK)
  }

  /// Lets the kernel send the streams at `rate` bytes a second.
  func pace(_ rate: UInt32) {
    for stream in [nearStream, farStream] {
      withUnsafePointer(to: rate) { _ = setsockopt(stream, SOL_SOCKET, SO_MAX_PACING_RATE, $0, 4) }
    }
  }

  deinit {
    close(nearStream)
    close(farStream)
  }
}
