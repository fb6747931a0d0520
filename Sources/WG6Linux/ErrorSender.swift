import CLinux
import Glibc
import SystemPackage
import WG6Protocol

/// Sends ICMP errors as a router does: from this machine's address on the way to the packet's sender (RFC 1812 §4.3.2.4,
/// RFC 4443 §2.2), and to the sender itself where NAT has given the packet another source before it came to the tunnel.
///
/// It works in the network namespace that the interface is in. One thread at a time.
public final class ErrorSender {
  private let sockets: Sockets
  private let namespace: UInt64

  /// Opens what it takes where the interface of `tun` is now. Throws where this process may not, or the kernel can't say
  /// where that is.
  public init(for tun: borrowing TUN) throws(Errno) {
    let namespace = try tun.namespace()
    self.namespace = try NamespaceNumber.of(namespace)
    sockets = Sockets()
    if NamespaceNumber.own == self.namespace {
      sockets.open()
    } else {
      // A thread that goes there does not come back.
      let descriptor = namespace.rawValue, sockets = sockets
      let thread = try Thread(named: "wg6-errors") {
        if linux_enter_network(descriptor) == 0 { sockets.open() }
      }
      thread.join()
    }
    guard sockets.routes != nil, sockets.v4 >= 0 || sockets.v6 >= 0 else {
      throw Errno(rawValue: -min(sockets.v4, sockets.v6))
    }
  }

  /// Whether the interface is still in the namespace that this works in.
  public func isAt(_ tun: borrowing TUN) -> Bool {
    do throws(Errno) {
      return try NamespaceNumber.of(tun.namespace()) == namespace
    } catch {
      return false
    }
  }

  /// Sends `error`, a whole packet as `Outbound.push` makes it, from this machine's own address. Returns false where that
  /// can't be: the kernel knows no way to the sender, or a firewall refuses it.
  public func send(_ error: UnsafeRawBufferPointer) -> Bool {
    let isIPv6 = unsafe error[0] >> 4 == 6
    let header = isIPv6 ? 40 : 20
    let descriptor = isIPv6 ? sockets.v6 : sockets.v4
    // What the packet is about stands behind the error's own eight bytes.
    guard descriptor >= 0, let flow = unsafe Flow(UnsafeRawBufferPointer(rebasing: error[(header + 8)...])) else {
      return false
    }
    var path = Path(to: Endpoint(address: flow.source, port: 0))
    if let sender = sockets.connections?.originalSource(of: flow), sender != flow.source {
      // Sent to the address that NAT has given it, from the one that its sender knows: NAT takes it back, and what is quoted.
      guard let own = sockets.routes?.ownAddress(towards: sender) else { return false }
      path.source = own
    }
    var address = linux_path(PackedPath(path))
    let message = unsafe UnsafeMutableRawPointer(mutating: error.baseAddress! + header)
    let length = UInt32(error.count - header)
    var run = unsafe linux_run(base: message, byte_count: length, segment_size: length)
    return unsafe linux_send(descriptor, isIPv6 ? 1 : 0, &address, &run, 1) == 1
  }

  // MARK: Private

  /// What is opened in the interface's namespace; negative errnos before.
  private final class Sockets: @unchecked Sendable {
    // SAFETY: written by one thread, which has ended before another looks.
    private(set) var v4 = -EPERM
    private(set) var v6 = -EPERM
    private(set) var routes: OwnAddresses?
    private(set) var connections: ConnectionTracking?

    func open() {
      v4 = linux_error_socket(0)
      v6 = linux_error_socket(1)
      routes = try? OwnAddresses()
      connections = ConnectionTracking()
    }

    deinit {
      for descriptor in [v4, v6] where descriptor >= 0 { close(descriptor) }
    }
  }
}

/// Which address of this machine stands on the way to another.
private final class OwnAddresses {
  private let netlink: NetlinkSocket

  init() throws(NetlinkError) { netlink = try NetlinkSocket() }

  func ownAddress(towards destination: IPAddress) -> IPAddress? { netlink.ownAddress(towards: destination) }
}
