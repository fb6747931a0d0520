import CLinux
import Glibc
import Synchronization
import SystemPackage
import WG6Crypto
import WG6Linux
import WG6Protocol

/// The thread that carries datagrams from the network to the device: receives a batch of messages, has the datagrams in
/// them opened in place and their packets written, and hands handshake messages to the control thread.
struct InboundThread: ~Copyable {
  private let wires: Wires
  private let reader: DataReader
  private let line: OrderedLine<ReceivedBatch>
  private var batch: ReceivedBatch
  /// Whether the control thread is to be woken: once for all that a batch has for it.
  private var wantsControl = false

  init(_ wires: Wires, _ line: OrderedLine<ReceivedBatch>, isHelped: Bool) {
    self.wires = wires
    reader = DataReader(wires.plane, number: 1)
    self.line = line
    batch = ReceivedBatch(wires.plane, isShared: isHelped)
  }

  /// Runs until the engine ends.
  @inline(never) mutating func run() {
    line.prepare()
    wires.note(.started)
    while !wires.isEnding.load(ordering: .acquiring) {
      var isReadable = (v4: false, v6: false), hasFailed = (v4: false, v6: false)
      do {
        try wires.inboundPoller.wait { token, events in
          let isFailed = events & Poller.failed != 0
          switch token {
          case Wires.Token.v4: (isReadable.v4, hasFailed.v4) = (true, isFailed)
          case Wires.Token.v6: (isReadable.v6, hasFailed.v6) = (true, isFailed)
          default: break
          }
        }
      } catch {
        wires.fail("inbound", error)
        break
      }
      reader.pass()
      if hasFailed.v4 { passOnRefusals(isIPv6: false) }
      if hasFailed.v6 { passOnRefusals(isIPv6: true) }
      if isReadable.v4 { drain(isIPv6: false) }
      if isReadable.v6 { drain(isIPv6: true) }
      line.drain()
      reader.leave()
    }
    reader.leave()
  }

  @inline(never) private mutating func drain(isIPv6: Bool) {
    let socket = wires.sockets.descriptor(isIPv6: isIPv6)
    // Bounded, so that the other family has its turn.
    for _ in 0..<16 {
      let isMore = batch.receive(from: socket, isIPv6: isIPv6)
      guard batch.messageCount > 0 else { return }
      for index in 0..<batch.messageCount { take(index, isIPv6: isIPv6) }
      line.submit(&batch)
      if wantsControl {
        wantsControl = false
        wires.control.ring()
      }
      if !isMore { return }
    }
  }

  /// Looks at what is in the message at `index`.
  private mutating func take(_ index: Int, isIPv6: Bool) {
    var offset = 0
    repeat {
      var wakesControl = false
      let isDone = unsafe batch.take(index, from: &offset, isIPv6: isIPv6) { bytes, path in
        guard let message = unsafe ControlMessage(bytes),
          wires.handshakes.push(ArrivedMessage(message: message, path: path))
        else { return wires.plane.drop(.handshakeQueueFull) }
        wakesControl = true
      }
      if wakesControl { wantsControl = true }
      if isDone { return }
      line.submitAtOnce(&batch)
    } while true
  }

  /// Empties the queue of news about datagrams that did not arrive, or takes as much as the control thread can.
  private func passOnRefusals(isIPv6: Bool) {
    for _ in 0..<64 {
      switch wires.sockets.nextRefusal(isIPv6: isIPv6) {
      case .none: return
      case .other: continue
      case .refused(let path):
        if wires.refusals.push(path) { wires.control.ring() } else { wires.plane.drop(.endpointUnreachable) }
      }
    }
  }
}
