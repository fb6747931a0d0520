import CLinux
import Glibc
import SystemPackage

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
