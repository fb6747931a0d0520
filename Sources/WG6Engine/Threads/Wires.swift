import CLinux
import Glibc
import Synchronization
import SystemPackage
import WG6Crypto
import WG6Linux
import WG6Protocol

/// What the threads of one engine share: the descriptors they work on, and the bells that wake them.
final class Wires: Sendable {
  let tun: TUN
  let sockets: UDPSockets
  let plane: DataPlane
  /// From the inbound thread to the control thread: messages that are not data. How full it is says whether the device is
  /// under load. Long enough for a processor that is busy elsewhere for 80 ms of a flood of 50,000 a second.
  let handshakes = Ring<ArrivedMessage>(capacity: 4096)
  /// Likewise: where datagrams went that did not arrive.
  let refusals = Ring<PackedPath>(capacity: 64)

  /// From the outbound thread to the control thread: errors about packets that can't be sent. More than one source may
  /// cause at once (`Limits.errorBurst`), so that a source that causes many leaves room for the errors of others.
  let errors = Ring<ComposedError>(capacity: 256)

  /// Wanted of the sockets.
  let offloads: Offloads
  /// What data is sealed and opened with; nil for the best.
  let cipher: TrainCipher.Kind?
  private let notices = Atomic<UInt8>(0)

  /// Wakes the control thread: events to handle, messages to read, a thread that failed.
  let control: Bell
  /// Wakes the outbound thread: staged packets to send or drop, or the end.
  let outbound: Bell
  /// Wakes the inbound thread for the end.
  let inbound: Bell
  /// What has changed of the routes, for the control thread and the outbound thread.
  let routeNews: RouteNews
  let outboundPoller: Poller
  let inboundPoller: Poller

  /// What the data threads' pollers tell.
  enum Token {
    static let bell: UInt64 = 0
    static let tun: UInt64 = 1
    static let v4: UInt64 = 2
    static let v6: UInt64 = 3
    static let routes: UInt64 = 4
  }

  let isEnding = Atomic<Bool>(false)
  /// Set by the outbound thread when the interface was deleted under it.
  let interfaceIsGone = Atomic<Bool>(false)

  /// Why a data thread has ended before its time.
  let failure = Mutex<StartError?>(nil)

  /// A data thread can't go on: the control thread ends the engine.
  func fail(_ thread: String, _ error: Errno) {
    failure.withLock { $0 = StartError("the \(thread) thread cannot wait for packets: \(error)") }
    control.ring()
  }

  /// What a data thread has to say of itself, or has found out about this machine.
  struct Notice: OptionSet {
    let rawValue: UInt8
    static let segmentationEnded = Notice(rawValue: 1)
    static let mergedPacketRefused = Notice(rawValue: 2)
    /// It has what it needs, and begins.
    static let started = Notice(rawValue: 4)
  }

  /// Tells the control thread, once until it looks.
  func note(_ notice: Notice) {
    if notices.bitwiseOr(notice.rawValue, ordering: .relaxed).oldValue & notice.rawValue == 0 { control.ring() }
  }

  func takeNotices() -> Notice {
    // As good as always there is none.
    guard notices.load(ordering: .relaxed) != 0 else { return [] }
    return Notice(rawValue: notices.exchange(0, ordering: .relaxed))
  }

  init(
    tun: consuming TUN, plane: DataPlane, offloads: Offloads, cipher: TrainCipher.Kind?
  ) throws(Errno) {
    self.tun = tun
    self.plane = plane
    self.offloads = offloads
    self.cipher = cipher
    sockets = try UDPSockets()
    control = try Bell()
    outbound = try Bell()
    inbound = try Bell()
    routeNews = try RouteNews()
    outboundPoller = try Poller()
    inboundPoller = try Poller()
    try outboundPoller.add(self.tun.descriptor.rawValue, token: Token.tun)
    try outboundPoller.add(outbound.descriptor.rawValue, token: Token.bell)
    try outboundPoller.add(
      routeNews.monitor.descriptor.rawValue, token: Token.routes, events: Poller.readable | Poller.once)
    try inboundPoller.add(inbound.descriptor.rawValue, token: Token.bell)
  }

  /// The cipher that data is sealed and opened with, and why it is not the faster one.
  var cipherName: String {
    if cipher == .sodium { return "libsodium" }
    return TrainCipher.vectorProblem.map { "libsodium (\($0))" } ?? "ipsec-mb"
  }

  /// What the device takes in one piece.
  var mergeRules: MergeRules {
    var rules = MergeRules()
    rules.tcp = tun.offloads.contains(.tso)
    rules.udp = tun.offloads.contains(.uso)
    return rules
  }

  /// Binds both sockets, and has the inbound thread listen to them.
  func open(port: UInt16, mark: UInt32) throws(Errno) -> UDPSockets.Opened {
    let opened = try sockets.open(port: port, mark: mark, offloads: offloads)
    // The sockets that were there before left the poller when they were closed.
    if opened.withoutIPv4 == nil { try inboundPoller.add(sockets.descriptor(isIPv6: false), token: Token.v4) }
    if opened.withoutIPv6 == nil { try inboundPoller.add(sockets.descriptor(isIPv6: true), token: Token.v6) }
    return opened
  }

  /// Sends one message.
  ///
  /// - Parameter isReply: whether it answers a remote end that is no peer's, and that nothing is remembered of.
  func send(_ message: ControlMessage, along path: PackedPath, isReply: Bool = false) -> UDPSockets.Sent {
    unsafe message.withUnsafeBytes { bytes in
      var run = unsafe DatagramRun(
        base: UnsafeMutableRawPointer(mutating: bytes.baseAddress!), byteCount: bytes.count, segmentSize: bytes.count)
      return unsafe withUnsafeMutablePointer(to: &run) {
        let runs = unsafe UnsafeMutableBufferPointer(start: $0, count: 1)
        return unsafe isReply ? sockets.sendReply(runs, along: path) : sockets.send(runs, along: path)
      }
    }
  }
}
