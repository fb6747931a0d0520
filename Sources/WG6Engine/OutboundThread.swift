import CLinux
import Glibc
import Synchronization
import SystemPackage
import WG6Crypto
import WG6Linux
import WG6Protocol

/// The thread that carries packets from the device to the network: reads until nothing is left, seals as it reads, and
/// sends what it has before it sleeps. Never waits for a train to fill.
struct OutboundThread: ~Copyable {
  private let wires: Wires
  private var path: Outbound
  private let sender: TrainSender

  init(_ wires: Wires) {
    self.wires = wires
    path = Outbound(
      plane: wires.plane, reader: 0, cipher: TrainCipher(wires.cipher), hasVirtioHeader: wires.tun.hasVirtioHeader)
    sender = TrainSender(wires)
  }

  deinit {
    sender.end()
  }

  /// Runs until the engine ends or the interface is deleted.
  mutating func run() {
    while !wires.isEnding.load(ordering: .acquiring) {
      var isRung = false, isReadable = false
      do {
        try wires.outboundPoller.wait { token, _ in
          if token == Wires.Token.bell { isRung = true } else { isReadable = true }
        }
      } catch {
        wires.fail("outbound", error)
        break
      }
      path.pass()
      if isRung {
        wires.outbound.hush()
        let now = Clock.monotonic, sender = sender
        path.flushStaged(now: now) { sender.send($0) }
      }
      if isReadable, !drain() { break }
      wakeControl()
      path.leave()
    }
    path.leave()
  }

  /// Reads and sends until the device has nothing more; false where it is gone.
  private mutating func drain() -> Bool {
    let sender = sender
    // Bounded, so that the control path can have what it retired at least this often.
    for _ in 0..<16 {
      let now = Clock.monotonic
      for _ in 0..<Train.capacity {
        let length = unsafe wires.tun.read(into: path.room)
        if length > 0 {
          if let answer = unsafe path.push(length: length, now: now, send: { sender.send($0) }) {
            // An interface that went down meanwhile takes nothing, and nobody waits for it.
            _ = unsafe wires.tun.write(answer)
          }
          continue
        }
        path.flush(now: now) { sender.send($0) }
        switch -length {
        case Int(EAGAIN), Int(EINTR): return true
        default: return !deviceIsGone()
        }
      }
      path.flush(now: now) { sender.send($0) }
      wakeControl()
      path.pass()
    }
    return true
  }

  /// Whether the interface was deleted; the control thread is told then.
  private func deviceIsGone() -> Bool {
    if (try? wires.tun.name()) != nil { return false }
    wires.interfaceIsGone.store(true, ordering: .releasing)
    wires.control.ring()
    return true
  }

  private mutating func wakeControl() {
    guard path.wantsControl else { return }
    path.wantsControl = false
    wires.control.ring()
  }
}

/// What puts trains on the network. One thread's own.
@safe private struct TrainSender {
  /// Milliseconds that a full socket buffer is waited for: the device's own queue holds senders back meanwhile.
  private static let patience: Int32 = 100

  let wires: Wires
  // SAFETY: `Train.capacity` places of plain data, for as long as the thread runs.
  private let runs: UnsafeMutablePointer<DatagramRun>

  init(_ wires: Wires) {
    self.wires = wires
    unsafe runs = .allocate(capacity: Train.capacity)
  }

  func end() { unsafe runs.deallocate() }

  /// Sends a train; returns how many bytes the network took.
  func send(_ train: borrowing Train) -> Int {
    var index = 0, count = 0
    while index < train.count {
      let run = train.run(from: index)
      unsafe (runs + count).initialize(
        to:
          DatagramRun(
            base: UnsafeMutableRawPointer(mutating: run.bytes.baseAddress!), byteCount: run.bytes.count,
            segmentSize: run.segmentSize))
      index += run.count
      count += 1
    }
    let sent = unsafe wires.sockets.send(
      UnsafeMutableBufferPointer(start: runs, count: count), along: train.path, patience: TrainSender.patience)
    if sent.sourceIsGone { train.peer?.forgetSource(of: train.path) }
    if sent.endedSegmentation { wires.note(.segmentationEnded) }
    if sent.count < train.count {
      wires.plane.drop(.networkRefusedMessage, of: train.peer, count: train.count - sent.count)
    }
    return sent.byteCount
  }
}
