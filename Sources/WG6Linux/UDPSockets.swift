import CLinux
import Glibc
import SystemPackage
import WG6Protocol

/// The device's two UDP sockets, IPv4 and IPv6, on one port. Either family may be missing on a machine.
///
/// Each family keeps one descriptor number for life: binding anew puts another socket under it (`dup2`), so that data
/// threads can go on using the number while the control path changes what stands behind it.
public struct UDPSockets: ~Copyable, Sendable {
  private let v4: OwnedDescriptor
  private let v6: OwnedDescriptor
  let wholeSending = WholeSending()
  /// What datagrams may be sent from.
  public let sources = OuterSources()

  /// Both closed.
  public init() throws(Errno) {
    let first = try UDPSockets.placeholder(), second = try UDPSockets.placeholder()
    v4 = first
    v6 = second
  }

  public borrowing func descriptor(isIPv6: Bool) -> Int32 { isIPv6 ? v6.rawValue : v4.rawValue }

  /// What `open` did.
  public struct Opened: Sendable {
    public let port: UInt16
    /// Why a family is missing; `nil` where it is there.
    public let withoutIPv4: Errno?
    public let withoutIPv6: Errno?
    /// What of the wanted `gso` and `gro` this kernel has.
    public let offloads: Offloads
  }

  /// Binds both families to `port` (0: any that is free in both) under `mark`, replacing what was open. On error
  /// everything is as it was.
  ///
  /// - Parameter wanted: of these, `gso` and `gro` as far as this kernel has them. With `gro`, what is received may be many
  ///   datagrams (`linux_datagram.segment_size`).
  public borrowing func open(port: UInt16, mark: UInt32, offloads wanted: Offloads = []) throws(Errno) -> Opened {
    for _ in 0..<100 {
      var bound = port
      var missing: (v4: Errno?, v6: Errno?) = (nil, nil)
      var collided = false
      let new4 = try UDPSockets.bound(isIPv6: false, &bound, mark, &missing.v4, &collided, mayCollide: false)
      let new6 = try UDPSockets.bound(isIPv6: true, &bound, mark, &missing.v6, &collided, mayCollide: port == 0)
      if collided { continue }
      if let reason = missing.v4, missing.v6 != nil { throw reason }
      var offloads = wanted.intersection([.gso, .gro])
      if missing.v4 == nil { offloads = UDPSockets.turnOn(offloads, new4.rawValue) }
      if missing.v6 == nil { offloads = UDPSockets.turnOn(offloads, new6.rawValue) }
      let old4 = try UDPSockets.duplicate(of: v4.rawValue)
      try UDPSockets.put(new4.rawValue, under: v4.rawValue)
      do throws(Errno) {
        try UDPSockets.put(new6.rawValue, under: v6.rawValue)
      } catch {
        // Half of it must not stay. What was possible a moment ago is possible again.
        try UDPSockets.put(old4.rawValue, under: v4.rawValue)
        throw error
      }
      sources.setMark(mark)
      for isIPv6 in [false, true] { wholeSending.set(offloads.contains(.gso), isIPv6: isIPv6) }
      return Opened(port: bound, withoutIPv4: missing.v4, withoutIPv6: missing.v6, offloads: offloads)
    }
    throw .addressInUse
  }

  public borrowing func close() throws(Errno) {
    for number in [v4.rawValue, v6.rawValue] {
      let nothing = try UDPSockets.placeholder()
      try UDPSockets.put(nothing.rawValue, under: number)
    }
  }

  public borrowing func setMark(_ mark: UInt32) {
    // A placeholder takes no mark, and needs none.
    _ = linux_set_mark(v4.rawValue, mark)
    _ = linux_set_mark(v6.rawValue, mark)
    sources.setMark(mark)
  }

  /// The next piece of news about datagrams that did not arrive.
  ///
  /// Anyone on the internet can make such news up, so that they are good for counting and nothing else.
  public borrowing func nextRefusal(isIPv6: Bool) -> Refusal {
    var path = linux_path()
    switch unsafe linux_next_refusal(descriptor(isIPv6: isIPv6), isIPv6 ? 1 : 0, &path) {
    case 1: return .refused(path.packed(isIPv6: isIPv6))
    case 0: return .other
    default: return .none
    }
  }

  public enum Refusal: Sendable {
    case none
    case other
    case refused(PackedPath)
  }

  // MARK: Private

  /// Something harmless under a descriptor number that waits for a socket.
  private static func placeholder() throws(Errno) -> OwnedDescriptor {
    let raw = unsafe Glibc.open("/dev/null", O_RDWR | O_CLOEXEC)
    guard raw >= 0 else { throw Errno(rawValue: errno) }
    return OwnedDescriptor(raw)
  }

  /// A socket bound to `port`, which becomes the real one; a placeholder where this machine lacks the family.
  private static func bound(
    isIPv6: Bool, _ port: inout UInt16, _ mark: UInt32, _ missing: inout Errno?, _ collided: inout Bool,
    mayCollide: Bool
  ) throws(Errno) -> OwnedDescriptor {
    let raw = linux_udp_socket(isIPv6 ? 1 : 0)
    guard raw >= 0 else {
      guard raw == -EAFNOSUPPORT else { throw Errno(rawValue: -raw) }
      missing = .addressFamilyNotSupported
      return try placeholder()
    }
    let socket = OwnedDescriptor(raw)
    if mark != 0 {
      let result = linux_set_mark(raw, mark)
      if result < 0 { throw Errno(rawValue: -result) }
    }
    let result = linux_bind(raw, isIPv6 ? 1 : 0, port)
    switch result {
    case 0...:
      port = UInt16(result)
      return socket
    case -EADDRINUSE where mayCollide:
      collided = true
      return socket
    case -EADDRNOTAVAIL, -EAFNOSUPPORT:
      // IPv6 is built in but switched off (disable_ipv6).
      missing = Errno(rawValue: -result)
      return try placeholder()
    default:
      throw Errno(rawValue: -result)
    }
  }

  /// Turns on what is wanted and returns what of it the kernel has.
  private static func turnOn(_ wanted: Offloads, _ socket: Int32) -> Offloads {
    var offloads = wanted
    if wanted.contains(.gso), linux_knows_segments(socket) == 0 { offloads.remove(.gso) }
    // Before 5.12, merging was faulty.
    if wanted.contains(.gro), linux_kernel_is_at_least(5, 12) == 0 || linux_merge_received(socket) != 0 {
      offloads.remove(.gro)
    }
    return offloads
  }

  private static func duplicate(of descriptor: Int32) throws(Errno) -> OwnedDescriptor {
    let raw = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
    guard raw >= 0 else { throw Errno(rawValue: errno) }
    return OwnedDescriptor(raw)
  }

  private static func put(_ descriptor: Int32, under number: Int32) throws(Errno) {
    let result = linux_put_under(descriptor, number)
    guard result == 0 else { throw Errno(rawValue: -result) }
  }
}

extension linux_path {
  public init(_ path: PackedPath) {
    self.init()
    unsafe withUnsafeMutableBytes(of: &remote) { unsafe $0.store(path.remote) }
    port = path.port
    zone = path.zone
    if path.hasSource {
      unsafe withUnsafeMutableBytes(of: &local) { unsafe $0.store(path.source) }
      local_interface = path.sourceInterface
      has_local = 1
    }
  }

  public func packed(isIPv6: Bool) -> PackedPath {
    let remote = unsafe withUnsafeBytes(of: self.remote) { unsafe AddressBits($0) }
    let local = unsafe withUnsafeBytes(of: self.local) { unsafe AddressBits($0) }
    return PackedPath(
      remote: remote, isIPv6: isIPv6, port: port, zone: zone, source: has_local != 0 ? local : nil,
      sourceInterface: local_interface)
  }
}

extension UnsafeMutableRawBufferPointer {
  fileprivate func store(_ bits: AddressBits) {
    unsafe storeBytes(of: bits.high.bigEndian, as: UInt64.self)
    unsafe storeBytes(of: bits.low.bigEndian, toByteOffset: 8, as: UInt64.self)
  }
}

extension AddressBits {
  fileprivate init(_ bytes: UnsafeRawBufferPointer) {
    self.init(
      high: unsafe UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self)),
      low: unsafe UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)))
  }
}
