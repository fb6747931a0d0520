import CLinux
import Glibc
import Synchronization
import SystemPackage
import WG6Linux
import WG6Protocol

/// The thread that carries datagrams from the network to the device: receives a batch, opens each in place, writes the
/// packets, and hands handshake messages to the control thread.
@safe struct InboundThread: ~Copyable {
  /// The longest UDP payload there is, and then some: what is longer was truncated, and is dropped.
  private static let bufferSize = 65536

  private let wires: Wires
  private var path: Inbound
  // SAFETY: `LINUX_BATCH` buffers of `bufferSize` bytes, and as many descriptions that point at them.
  private let buffers: UnsafeMutableRawPointer
  private let datagrams: UnsafeMutablePointer<linux_datagram>
  private static let batch = Int(LINUX_BATCH)

  init(_ wires: Wires) {
    self.wires = wires
    path = Inbound(plane: wires.plane, reader: 1)
    // Touched only as far as datagrams reach: 4 MiB of addresses, not of memory.
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
      for index in 0..<count { unsafe receive(datagrams[index], isIPv6: isIPv6, now: now) }
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

  private mutating func receive(_ datagram: linux_datagram, isIPv6: Bool, now: Nanoseconds) {
    guard unsafe datagram.is_truncated == 0 else { return wires.plane.drop(.malformedMessage) }
    let bytes = unsafe UnsafeMutableRawBufferPointer(start: datagram.buffer, count: Int(datagram.length))
    let source = unsafe datagram.path.packed(isIPv6: isIPv6)
    switch unsafe path.open(bytes, from: source, now: now) {
    case .packet(let offset, let length):
      let packet = unsafe UnsafeRawBufferPointer(start: datagram.buffer + offset, count: length)
      if unsafe wires.tun.write(packet) != 0 { wires.plane.drop(.deviceRefusedPacket) }
    case .control:
      guard let message = unsafe ControlMessage(UnsafeRawBufferPointer(bytes)),
        wires.handshakes.push(ArrivedMessage(message: message, path: source))
      else { return wires.plane.drop(.handshakeQueueFull) }
      path.wantsControl = true
    case .nothing:
      break
    }
  }
}
