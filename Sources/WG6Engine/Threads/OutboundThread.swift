import CLinux
import Glibc
import Synchronization
import SystemPackage
import WG6Crypto
import WG6Linux
import WG6Protocol

/// The thread that carries packets from the device to the network: reads until nothing is left, fills trains as it reads,
/// and has what it has sent before it sleeps. Never waits for a train to fill.
struct OutboundThread: ~Copyable {
  private let wires: Wires
  private var path: Outbound
  private let line: OrderedLine<Train>

  init(_ wires: Wires, _ line: OrderedLine<Train>) {
    self.wires = wires
    self.line = line
    path = Outbound(
      plane: wires.plane, reader: 0, leavesSealing: true, hasVirtioHeader: wires.tun.hasVirtioHeader)
  }

  /// Runs until the engine ends or the interface is deleted.
  @inline(never) mutating func run() {
    line.prepare()
    wires.note(.started)
    while !wires.isEnding.load(ordering: .acquiring) {
      var isRung = false, isReadable = false, routesTold = false
      do {
        try wires.outboundPoller.wait { token, _ in
          switch token {
          case Wires.Token.bell: isRung = true
          case Wires.Token.routes: routesTold = true
          default: isReadable = true
          }
        }
      } catch {
        wires.fail("outbound", error)
        break
      }
      wires.routeNews.wait(isTold: routesTold, control: wires.control)
      path.pass()
      if isRung { flushStaged() }
      let goesOn = !isReadable || drain()
      line.drain()
      wakeControl()
      path.leave()
      if !goesOn { break }
    }
    path.leave()
  }

  private mutating func flushStaged() {
    wires.outbound.hush()
    let line = line
    path.flushStaged(now: Clock.monotonic) { train in
      line.submit(&train)
      return 0
    }
  }

  /// Reads and sends until the device has nothing more; false where it is gone.
  @inline(never) private mutating func drain() -> Bool {
    let line = line
    func send(_ train: inout Train) -> Int {
      line.submit(&train)
      // Counted by whoever sends it.
      return 0
    }
    // Bounded, so that the control path can have what it retired at least this often.
    for _ in 0..<16 {
      let now = Clock.monotonic
      for _ in 0..<Train.capacity {
        let length = unsafe wires.tun.read(into: path.room)
        if length > 0 {
          if let answer = unsafe path.push(length: length, now: now, send: send) { unsafe hand(answer) }
          continue
        }
        path.flush(now: now, send: send)
        switch -length {
        case Int(EAGAIN), Int(EINTR): return true
        default: return !deviceIsGone()
        }
      }
      path.flush(now: now, send: send)
      wakeControl()
      line.drain()
      path.pass()
    }
    return true
  }

  /// Has the control thread send an ICMP error. Where too many wait there already, it is lost, as any may be.
  @inline(never) private mutating func hand(_ error: UnsafeRawBufferPointer) {
    guard let error = unsafe ComposedError(error), wires.errors.push(error) else { return }
    wires.control.ring()
  }

  /// Whether the interface was deleted; the control thread is told then.
  @inline(never) private func deviceIsGone() -> Bool {
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

extension Train: LinePiece {
  /// What is sealed in less time than it takes to wake another thread.
  var isSmall: Bool { byteCount < 8192 }

  mutating func work(with cipher: borrowing TrainCipher) { seal(with: cipher) }

  mutating func finish(by sender: TrainSender) {
    sender.send(self)
    removeAll()
  }
}

/// What puts trains on the network. Used by one thread at a time, until it is ended.
@safe struct TrainSender {
  /// Milliseconds that a full socket buffer is waited for: the device's own queue holds senders back meanwhile.
  private static let patience: Int32 = 100

  private let wires: Wires
  // SAFETY: `Train.capacity` places of plain data.
  private let runs: UnsafeMutablePointer<DatagramRun>

  init(_ wires: Wires) {
    self.wires = wires
    unsafe runs = .allocate(capacity: Train.capacity)
  }

  func end() { unsafe runs.deallocate() }

  func send(_ train: borrowing Train) {
    var index = 0, count = 0
    while index < train.count {
      let run = train.run(from: index)
      unsafe (runs + count).initialize(
        to: DatagramRun(
          base: UnsafeMutableRawPointer(mutating: run.bytes.baseAddress!), byteCount: run.bytes.count,
          segmentSize: run.segmentSize))
      index += run.count
      count += 1
    }
    let sent = unsafe wires.sockets.send(
      UnsafeMutableBufferPointer(start: runs, count: count), along: train.path, patience: TrainSender.patience)
    if let checked = sent.path { train.peer?.replace(train.path, by: checked) }
    if sent.endedSegmentation { wires.note(.segmentationEnded) }
    if sent.tooLongCount > 0 { wires.plane.drop(.packetTooBig, of: train.peer, count: sent.tooLongCount) }
    let lost = train.count - sent.count - sent.tooLongCount
    if lost > 0 {
      wires.plane.drop(sent.hasNoSource ? .noOuterSource : .networkRefusedMessage, of: train.peer, count: lost)
    }
    train.peer?.sent(sent.byteCount)
  }
}
