import CLinux
import Glibc
import SystemPackage

/// A TUN interface: a descriptor that whole IPv4 and IPv6 packets are read from and written to.
///
/// The interface lives as long as the descriptor, unless it was made persistent elsewhere.
public struct TUN: ~Copyable, Sendable {
  public let descriptor: OwnedDescriptor

  /// Makes the interface `name`, or attaches to it where it exists and nobody else has. `%d` in the name becomes a number.
  public init(named name: String) throws(Errno) {
    descriptor = unsafe try OwnedDescriptor(orErrno: linux_tun_open(name))
  }

  /// Takes over a descriptor that someone else opened.
  public init(takingOver raw: Int32) throws(Errno) {
    descriptor = OwnedDescriptor(raw)
    guard fcntl(raw, F_SETFL, fcntl(raw, F_GETFL) | O_NONBLOCK) == 0 else { throw Errno(rawValue: errno) }
    _ = fcntl(raw, F_SETFD, FD_CLOEXEC)
    _ = try self.name()
  }

  /// The interface's name of today. Throws `badFileDescriptor`'s kin EBADFD where it was deleted.
  public borrowing func name() throws(Errno) -> String {
    var bytes = InlineArray<16, CChar>(repeating: 0)
    var span = bytes.mutableSpan
    let result = unsafe span.withUnsafeMutableBufferPointer {
      unsafe linux_tun_name(descriptor.rawValue, $0.baseAddress!)
    }
    guard result == 0 else { throw Errno(rawValue: -result) }
    return String(decoding: bytes.indices.prefix { bytes[$0] != 0 }.map { UInt8(bitPattern: bytes[$0]) }, as: UTF8.self)
  }

  /// The interface's index; 0 where it was deleted, or is in another network namespace.
  public var index: UInt32 { (try? name()).map { unsafe if_nametoindex($0) } ?? 0 }

  /// Reads one packet. Returns its length, or a negative errno: -EAGAIN where none waits.
  public borrowing func read(into buffer: UnsafeMutableRawBufferPointer) -> Int {
    let count = unsafe Glibc.read(descriptor.rawValue, buffer.baseAddress!, buffer.count)
    return count >= 0 ? count : -Int(errno)
  }

  /// Writes one packet. Returns 0 or a negative errno: -EIO while the interface is down.
  public borrowing func write(_ packet: UnsafeRawBufferPointer) -> Int {
    let count = unsafe Glibc.write(descriptor.rawValue, packet.baseAddress!, packet.count)
    return count >= 0 ? 0 : -Int(errno)
  }
}

/// An interface as the kernel sees it now.
public enum Interface {
  public static func mtu(of name: String) throws(Errno) -> Int { unsafe try number(linux_interface_mtu(name)) }

  public static func setMTU(_ mtu: Int, of name: String) throws(Errno) {
    _ = unsafe try number(linux_set_interface_mtu(name, Int32(clamping: mtu)))
  }

  public static func isUp(_ name: String) throws(Errno) -> Bool {
    unsafe try number(linux_interface_flags(name)) & Int(IFF_UP) != 0
  }

  private static func number(_ result: Int32) throws(Errno) -> Int {
    guard result >= 0 else { throw Errno(rawValue: -result) }
    return Int(result)
  }
}

/// Tells that something about some interface, address, route or rule has changed; what it is now, is to be asked.
public struct InterfaceMonitor: ~Copyable, Sendable {
  public let descriptor: OwnedDescriptor

  public init() throws(Errno) {
    descriptor = try OwnedDescriptor(orErrno: linux_link_monitor())
  }

  /// What has changed since the last time.
  public struct Changes: OptionSet, Sendable {
    public let rawValue: Int32

    public init(rawValue: Int32) { self.rawValue = rawValue }

    /// Interfaces or addresses.
    public static let links = Changes(rawValue: Int32(LINUX_CHANGED_LINKS))
    /// Routes or rules.
    public static let routes = Changes(rawValue: Int32(LINUX_CHANGED_ROUTES))
    /// Routes that may lead through the interface asked for.
    public static let ownRoutes = Changes(rawValue: Int32(LINUX_CHANGED_OWN_ROUTES))
  }

  /// Takes what was told so far.
  ///
  /// - Parameter interface: the index of the interface whose routes matter.
  public borrowing func drain(of interface: UInt32) -> Changes {
    Changes(rawValue: linux_drain_monitor(descriptor.rawValue, interface))
  }
}
