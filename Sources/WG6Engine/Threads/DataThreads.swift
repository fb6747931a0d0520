import Synchronization
import SystemPackage
import WG6Linux
import WG6Protocol

/// The threads that carry data: one that reads from the device, one that reads from the network, and helpers of both, who
/// seal, send, open and write.
final class DataThreads {
  private let wires: Wires
  private let outboundHelpers: Int
  private let inboundHelpers: Int
  private let sender: TrainSender
  private let writer: PacketWriter
  private let outboundLine: OrderedLine<Train>
  private let inboundLine: OrderedLine<ReceivedBatch>
  private var running: [RunningThread] = []

  /// - Parameter count: threads in all, 2 at least.
  init(_ wires: Wires, count: Int) {
    self.wires = wires
    let helpers = max(0, count - 2)
    // The cipher costs both directions the same; what is odd goes to the one that has checksums to compute as well.
    outboundHelpers = (helpers + 1) / 2
    inboundHelpers = helpers / 2
    sender = TrainSender(wires)
    writer = PacketWriter(wires)
    outboundLine = OrderedLine(finisher: sender, cipher: wires.cipher, helperCount: outboundHelpers) { Train() }
    let isShared = inboundHelpers > 0
    inboundLine = OrderedLine(finisher: writer, cipher: wires.cipher, helperCount: inboundHelpers) {
      ReceivedBatch(wires.plane, isShared: isShared)
    }
  }

  deinit {
    sender.end()
    writer.end()
  }

  /// On error those that were started run until `end`.
  func start() throws(Errno) {
    let wires = wires, outboundLine = outboundLine, inboundLine = inboundLine, isHelped = inboundHelpers > 0
    try start("wg6-outbound") {
      var thread = OutboundThread(wires, outboundLine)
      thread.run()
    }
    try start("wg6-inbound") {
      var thread = InboundThread(wires, inboundLine, isHelped: isHelped)
      thread.run()
    }
    for _ in 0..<outboundHelpers { try start("wg6-seal") { outboundLine.help() } }
    for _ in 0..<inboundHelpers { try start("wg6-open") { inboundLine.help() } }
  }

  /// Ends all of them, and waits until they have ended.
  func end() {
    wires.isEnding.store(true, ordering: .releasing)
    wires.outbound.ring()
    wires.inbound.ring()
    // Those who fill the lines may need help to come to an end.
    for thread in running.prefix(2) { thread.join() }
    outboundLine.end()
    inboundLine.end()
    for thread in running.dropFirst(2) { thread.join() }
    running = []
  }

  private func start(_ name: String, _ body: @escaping @Sendable () -> Void) throws(Errno) {
    running.append(RunningThread(try Thread(named: name, body)))
  }
}

/// A thread that can stand in an array.
private final class RunningThread {
  private var thread: Thread?

  init(_ thread: consuming Thread) {
    self.thread = consume thread
  }

  func join() {
    thread.take()?.join()
  }
}
