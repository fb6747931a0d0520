import CLinux
import Glibc
import Synchronization
import SystemPackage
import WG6Crypto
import WG6Linux
import WG6Protocol

/// The thread that carries datagrams from the network to the device: receives a batch of messages, opens the datagrams in
/// them in place, writes the packets, merged where the device takes that, and hands handshake messages to the control
/// thread.
@safe struct InboundThread: ~Copyable {
  /// The longest UDP payload there is, and then some: what is longer was truncated, and is dropped.
  private static let bufferSize = 65536
  /// Messages received at once, at most. Enough to share a call among small ones, and few enough for what merged ones
  /// fill to stay in the cache.
  private static let batch = 32

  private let wires: Wires
  private var path: Inbound
  // SAFETY: `batch` buffers of `bufferSize` bytes, and as many descriptions that point at them.
  private let buffers: UnsafeMutableRawPointer
  private let datagrams: UnsafeMutablePointer<linux_datagram>

  init(_ wires: Wires) {
    self.wires = wires
    path = Inbound(plane: wires.plane, reader: 1, cipher: TrainCipher(wires.cipher), rules: wires.mergeRules)
    // Touched only as far as messages reach: 2 MiB of addresses, not of memory.
    unsafe buffers = .allocate(byteCount: InboundThread.batch * InboundThread.bufferSize, alignment: 4096)
    unsafe datagrams = .allocate(capacity: InboundThread.batch)
    for index in 0..<InboundThread.batch {
      var datagram = unsafe linux_datagram()
      unsafe datagram.buffer = buffers + index * InboundThread.bufferSize
      unsafe datagram.capacity = UInt32(InboundThread.bufferSize)
      unsafe (datagrams + index).initialize(to: datagram)
    }
  }

  deinit {
    unsafe datagrams.deallocate()
    unsafe buffers.deallocate()
  }

  /// Runs until the engine ends.
  mutating func run() {
    while !wires.isEnding.load(ordering: .acquiring) {
      var isReadable = (v4: false, v6: false)
      do {
        let wires = wires
        try wires.inboundPoller.wait { token, events in
          switch token {
          case Wires.Token.v4: isReadable.v4 = true
          case Wires.Token.v6: isReadable.v6 = true
          default: return
          }
          if events & Poller.failed != 0 { InboundThread.passOnRefusals(isIPv6: token == Wires.Token.v6, wires) }
        }
      } catch {
        wires.fail("inbound", error)
        break
      }
      path.pass()
      if isReadable.v4 { drain(isIPv6: false) }
      if isReadable.v6 { drain(isIPv6: true) }
      path.leave()
    }
    path.leave()
  }

  private mutating func drain(isIPv6: Bool) {
    let socket = wires.sockets.descriptor(isIPv6: isIPv6)
    // Bounded, so that the other family has its turn.
    for _ in 0..<16 {
      let count = unsafe Int(linux_receive(socket, isIPv6 ? 1 : 0, datagrams, Int32(InboundThread.batch)))
      guard count > 0 else { return }
      let now = Clock.monotonic
      for index in 0..<count { unsafe take(datagrams[index], isIPv6: isIPv6, now: now) }
      deliver(now: now)
      if path.wantsControl {
        path.wantsControl = false
        wires.control.ring()
      }
      path.pass()
      if count < InboundThread.batch { return }
    }
  }

  /// Empties the queue of news about datagrams that did not arrive, or takes as much as the control thread can.
  private static func passOnRefusals(isIPv6: Bool, _ wires: Wires) {
    for _ in 0..<64 {
      switch wires.sockets.nextRefusal(isIPv6: isIPv6) {
      case .none: return
      case .other: continue
      case .refused(let path):
        if wires.refusals.push(path) { wires.control.ring() } else { wires.plane.drop(.endpointUnreachable) }
      }
    }
  }

  private mutating func take(_ message: linux_datagram, isIPv6: Bool, now: Nanoseconds) {
    guard unsafe message.is_truncated == 0 else { return wires.plane.drop(.malformedMessage) }
    let source = unsafe message.path.packed(isIPv6: isIPv6)
    var rest = unsafe UnsafeMutableRawBufferPointer(start: message.buffer, count: Int(message.length))
    while true {
      let wires = wires
      var wakesControl = false
      let taken = unsafe path.take(rest, segmentSize: Int(message.segment_size), from: source, now: now) { bytes in
        guard let message = unsafe ControlMessage(bytes),
          wires.handshakes.push(ArrivedMessage(message: message, path: source))
        else { return wires.plane.drop(.handshakeQueueFull) }
        wakesControl = true
      }
      if wakesControl { path.wantsControl = true }
      if taken == rest.count { return }
      unsafe rest = UnsafeMutableRawBufferPointer(rebasing: rest[taken...])
      deliver(now: now)
    }
  }

  private mutating func deliver(now: Nanoseconds) {
    let wires = wires
    unsafe path.deliver(now: now) { pieces in
      let result = unsafe wires.tun.write(pieces)
      if result == 0 { return .taken }
      guard TUN.isRefusal(result) else { return .failed }
      if pieces.count > 1 { wires.note(.mergedPacketRefused) }
      return .refused
    }
  }
}
