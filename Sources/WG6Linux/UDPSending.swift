import CLinux
import Glibc
import WG6Protocol

extension UDPSockets {
  /// What became of a send.
  public struct Sent: Sendable {
    /// Datagrams that the network took; the others are lost.
    public var count = 0
    /// Bytes of them.
    public var byteCount = 0
    /// Whether they left from another local address than the path names, because that one has gone.
    public var sourceIsGone = false
    /// The path that they left along, where its local end is not, or not yet known to be, what was wanted: for the next send.
    public var path: PackedPath?
    /// Datagrams that were not sent because they would not go whole through a tunnel on the way, which was not known when
    /// they were sealed.
    public var tooLongCount = 0
    /// Whether this machine has no address for the local end but the tunnel's own. Nothing more was sent then.
    public var hasNoSource = false
    /// Whether it was this send that found out that runs can't be sent as one message here, and ended that for its family:
    /// something to tell the user.
    public var endedSegmentation = false

    fileprivate static let withoutSource: Sent = {
      var sent = Sent()
      sent.hasNoSource = true
      return sent
    }()
  }

  /// Sends the datagrams of `runs` along `path`: each run as one message where the network takes that, else datagram by
  /// datagram. Allocates nothing.
  ///
  /// - Parameter patience: how many milliseconds to wait, each time, for room in the socket's buffer.
  public borrowing func send(
    _ runs: UnsafeMutableBufferPointer<DatagramRun>, along path: PackedPath, patience: Int32 = 0
  ) -> Sent {
    guard sources.isChecked(path) else { return unsafe sendAfterCheck(runs, along: path, patience) }
    return unsafe sendChecked(runs, along: path, patience)
  }

  /// Sends to a remote end of which nothing is remembered, as a cookie reply goes: from the address that was written to, or
  /// not at all. The way there is not looked up: it would have to be for each such datagram, and strangers choose how many
  /// there are.
  public borrowing func sendReply(_ runs: UnsafeMutableBufferPointer<DatagramRun>, along path: PackedPath) -> Sent {
    guard let checked = sources.checkSource(path) else { return .withoutSource }
    return unsafe sendChecked(runs, along: checked, 0, mayChangeSource: false)
  }

  /// Finds the local end first. Out of the way of the other sends.
  @inline(never) private borrowing func sendAfterCheck(
    _ runs: UnsafeMutableBufferPointer<DatagramRun>, along path: PackedPath, _ patience: Int32
  ) -> Sent {
    guard let checked = sources.check(path) else { return .withoutSource }
    let (count, tooLongCount) = unsafe UDPSockets.removeLonger(than: checked.longestDatagram, from: runs)
    var sent = unsafe sendChecked(UnsafeMutableBufferPointer(rebasing: runs[..<count]), along: checked, patience)
    sent.path = sent.path ?? checked
    sent.tooLongCount = tooLongCount
    return sent
  }

  /// Leaves runs out whose datagrams are longer than `longest` bytes; returns how many runs are left, and how many datagrams
  /// are out. The last of a run, which may be shorter, goes with the others.
  private static func removeLonger(
    than longest: Int, from runs: UnsafeMutableBufferPointer<DatagramRun>
  ) -> (Int, Int) {
    var count = 0, tooLongCount = 0
    for index in 0..<runs.count {
      let run = unsafe runs[index]
      if run.segmentSize > longest {
        tooLongCount += run.count
      } else {
        unsafe runs[count] = run
        count += 1
      }
    }
    return (count, tooLongCount)
  }

  private borrowing func sendChecked(
    _ runs: UnsafeMutableBufferPointer<DatagramRun>, along path: PackedPath, _ patience: Int32,
    mayChangeSource: Bool = true
  ) -> Sent {
    var attempt = Attempt(descriptor(isIPv6: path.isIPv6), path, patience, mayChangeSource)
    var index = 0
    while index < runs.count {
      let rest = unsafe UnsafeMutableBufferPointer(rebasing: runs[index...])
      let wholeCount = unsafe countGoingWhole(rest, along: path)
      guard wholeCount > 0 else {
        guard unsafe attempt.sendSingly(rest[0], sources) else { break }
        index += 1
        continue
      }
      let result = unsafe attempt.send(rest.baseAddress!, count: wholeCount)
      if result > 0 {
        index += Int(result)
      } else if !attempt.goesOn(after: result) {
        let run = unsafe rest[0]
        if run.isCut, let refusal = SegmentationRefusal(result) {
          let sourceWasGone = attempt.sent.sourceIsGone
          guard attempt.sendSingly(run, sources) else { break }
          index += 1
          // A source that has gone is refused with the same errors.
          if attempt.sent.sourceIsGone == sourceWasGone { note(refusal, of: run, along: path, &attempt.sent) }
        } else if !attempt.leavesSource(after: result, sources) {
          break
        }
      }
    }
    return attempt.sent
  }

  /// Whether runs to this family go out as one message each: offload was wanted when the sockets were opened, the kernel
  /// has it, and no network card has refused it since.
  public func sendsRunsWhole(isIPv6: Bool) -> Bool { wholeSending.isOn(isIPv6: isIPv6) }

  /// How many of the first runs can be sent as they are.
  private func countGoingWhole(_ runs: UnsafeMutableBufferPointer<DatagramRun>, along path: PackedPath) -> Int {
    var count = 0
    while count < min(runs.count, Int(LINUX_BATCH)) {
      let run = unsafe runs[count]
      if run.isCut, !wholeSending.allows(run.segmentSize, along: path) { break }
      count += 1
    }
    return count
  }

  /// Datagrams were refused as one message, and taken one by one.
  private func note(
    _ refusal: SegmentationRefusal, of run: DatagramRun, along path: PackedPath, _ sent: inout Sent
  ) {
    switch refusal {
    case .size: wholeSending.refused(run.segmentSize, along: path)
    case .device: if wholeSending.turnOff(isIPv6: path.isIPv6) { sent.endedSegmentation = true }
    }
  }
}

/// One send on its way: what went out, and what was tried when something did not.
private struct Attempt {
  /// How many errors in a row are passed over: what the network said of earlier datagrams is told here first
  /// (IP_RECVERR), once each.
  private static let mostRetries = 2

  private let number: Int32
  private let family: Int32
  private let path: PackedPath
  private var address: linux_path
  private let patience: Int32
  private let mayChangeSource: Bool
  private var retries = 0
  var sent = UDPSockets.Sent()

  init(_ number: Int32, _ path: PackedPath, _ patience: Int32, _ mayChangeSource: Bool) {
    self.number = number
    family = path.isIPv6 ? 1 : 0
    self.path = path
    address = linux_path(path)
    self.patience = patience
    self.mayChangeSource = mayChangeSource
  }

  /// Returns how many runs went out, or a negative errno.
  mutating func send(_ runs: UnsafeMutablePointer<DatagramRun>, count: Int) -> Int32 {
    // SAFETY: a `DatagramRun` is laid out as a `linux_run`.
    let bare = unsafe UnsafeRawPointer(runs).assumingMemoryBound(to: linux_run.self)
    let result = unsafe linux_send(number, family, &address, bare, Int32(count))
    if result > 0 {
      for index in 0..<Int(result) {
        unsafe sent.count += runs[index].count
        unsafe sent.byteCount += runs[index].byteCount
      }
      retries = 0
    }
    return result
  }

  /// Sends datagram by datagram; false where that came to an end before its time.
  mutating func sendSingly(_ run: DatagramRun, _ sources: borrowing OuterSources) -> Bool {
    var rest = run
    while rest.byteCount > 0 {
      let result = unsafe withUnsafePointer(to: &rest) {
        let bare = unsafe UnsafeRawPointer($0).assumingMemoryBound(to: linux_run.self)
        return unsafe linux_send_singly(number, family, &address, bare)
      }
      if result > 0 {
        sent.count += Int(result)
        sent.byteCount += rest.removeFirst(Int(result))
        retries = 0
      } else if !goesOn(after: result), !leavesSource(after: result, sources) {
        return false
      }
    }
    return true
  }

  /// Whether the same is worth being tried again; waits for room in the socket's buffer.
  mutating func goesOn(after result: Int32) -> Bool {
    switch result {
    case -EINTR:
      return true
    case -EAGAIN:
      var room = pollfd(fd: number, events: Int16(POLLOUT), revents: 0)
      return unsafe patience > 0 && poll(&room, 1, patience) > 0
    default:
      retries += 1
      return retries <= Attempt.mostRetries
    }
  }

  /// Whether `result` may be the kernel's answer to a source that is none of this machine's addresses, and another was
  /// found, or is left to the kernel to choose.
  mutating func leavesSource(after result: Int32, _ sources: borrowing OuterSources) -> Bool {
    guard mayChangeSource, address.has_local != 0, !sent.sourceIsGone else { return false }
    switch -result {
    case EINVAL, EADDRNOTAVAIL, ENETUNREACH, ENODEV: break
    default: return false
    }
    return chooseSource(sources)
  }

  @inline(never) private mutating func chooseSource(_ sources: borrowing OuterSources) -> Bool {
    sent.sourceIsGone = true
    sent.path = sources.check(path.withoutSource)
    guard let path = sent.path else {
      sent.hasNoSource = true
      return false
    }
    address = linux_path(path)
    return true
  }
}
