import Synchronization
import WG6Protocol

/// Sees to it that no datagram has an address of the tunnel itself for its outer source, and that the way is known before
/// the first datagram takes it.
///
/// The kernel chooses among all addresses of the machine. If the uplink has none that it likes (deprecated, link-local
/// only, removed for a moment), it takes the tunnel's own: the other end can't answer that, and the local network sees an
/// address of the inside. An address that another interface has as well is no tunnel's own, and what leaves through the
/// tunnel itself, to a peer behind a peer, may come from there.
///
/// A path is checked once, and again when the machine's addresses or routes have changed. One that no review of routes has
/// seen, for a peer has just moved there, is reviewed along with that: another tunnel may lie on the way, and then longer
/// datagrams must not go there (`Device.routesChanged`). Any thread may ask.
public struct OuterSources: ~Copyable, Sendable {
  /// What is known of the machine.
  struct State {
    var addresses: [LocalAddress] = []
    var own: [IPAddress] = []
    var tunnel: UInt32 = 0
    var mark: UInt32 = 0
    var kernel: Kernel?
    /// MTUs of interfaces, in bytes, where they are tunnels; as they were at the check `tunnelsCheck`.
    var tunnels: [UInt32: Int?] = [:]
    var tunnelsCheck: UInt32 = 0
  }

  /// A socket that can be missing. Used by whoever holds the lock.
  final class Kernel {
    let socket: NetlinkSocket

    init() throws(NetlinkError) { socket = try NetlinkSocket() }
  }

  /// Which check is valid: goes up whenever earlier ones are out of date, and is never 0.
  private let number = Atomic<UInt32>(1)
  private let state = Mutex(State())

  /// Whether any path has been looked up in the kernel.
  var hasAskedKernel: Bool { state.withLock { $0.kernel != nil } }

  /// Whether the local end of `path` was looked at, and nothing has changed since, and the way is known.
  public func isChecked(_ path: PackedPath) -> Bool {
    path.check == number.load(ordering: .relaxed) && path.isReviewed
  }

  /// Addresses, routes or rules have changed.
  public func machineChanged() {
    // Past the last number is 0, which stands for no check.
    if number.add(1, ordering: .sequentiallyConsistent).newValue == 0 {
      number.add(1, ordering: .sequentiallyConsistent)
    }
  }

  /// Takes note of the machine's addresses.
  ///
  /// - Parameter tunnel: the index of the tunnel's interface; 0 if it is in another network namespace.
  public func setAddresses(_ addresses: [LocalAddress], tunnel: UInt32) {
    let others = Set(addresses.lazy.filter { $0.interface != tunnel }.map(\.address))
    state.withLock {
      $0.own = addresses.filter { $0.interface == tunnel && !others.contains($0.address) }.map(\.address)
      $0.addresses = addresses
      $0.tunnel = tunnel
    }
    machineChanged()
  }

  func setMark(_ mark: UInt32) {
    state.withLock { $0.mark = mark }
    machineChanged()
  }

  /// `path` as datagrams may go along it: as it is, or from another source; nil if there is none but the tunnel's own.
  public func check(_ path: PackedPath) -> PackedPath? {
    // Read first: what changes while the path is looked at makes the result out of date.
    let number = number.load(ordering: .sequentiallyConsistent)
    guard let checked = checkSource(path, number) else { return nil }
    return checked.isReviewed ? checked : state.withLock { OuterSources.review(checked, &$0, number) }
  }

  /// `path` with what is known of the way. Without a way the kernel sends nothing, and there may be one a moment later: then
  /// it is not reviewed.
  private static func review(_ path: PackedPath, _ state: inout State, _ number: UInt32) -> PackedPath {
    if state.kernel == nil { state.kernel = try? Kernel() }
    // Without netlink nothing is ever known.
    guard let kernel = state.kernel else { return path.reviewed(tunnelMTU: nil) }
    guard let interface = kernel.socket.interfaceLeft(along: path, mark: state.mark) else { return path }
    if state.tunnelsCheck != number {
      state.tunnels.removeAll(keepingCapacity: true)
      state.tunnelsCheck = number
    }
    if state.tunnels[interface] == nil { state.tunnels[interface] = .some(kernel.socket.tunnelMTU(interface)) }
    return path.reviewed(tunnelMTU: state.tunnels[interface]!)
  }

  /// The first half of `check`, the local end alone. Asks the kernel nothing if `path` has a source that is not the tunnel's.
  func checkSource(_ path: PackedPath) -> PackedPath? {
    checkSource(path, number.load(ordering: .sequentiallyConsistent))
  }

  private func checkSource(_ path: PackedPath, _ number: UInt32) -> PackedPath? {
    state.withLock { state in
      guard state.own.contains(where: { $0.isIPv6 == path.isIPv6 }) else { return path.checked(number) }
      if path.hasSource, !path.isChosen, !state.own.contains(path.sourceAddress) { return path.checked(number) }
      let free = path.hasSource ? path.withoutSource : path
      if state.kernel == nil { state.kernel = try? Kernel() }
      // Without a way the kernel sends nothing. There may be one a moment later, so this counts as no check.
      guard let way = state.kernel?.socket.way(along: free, mark: state.mark) else { return free }
      // A peer behind another peer of the same interface: there the tunnel's address is the right one.
      if way.interface == state.tunnel { return (path.isChosen ? free : path).checked(number) }
      if let source = way.source, !state.own.contains(source) { return free.checked(number) }
      let own = state.own
      let candidates = state.addresses.filter { !own.contains($0.address) }
      return OuterSources.best(of: candidates, for: free.remoteAddress, leavingBy: way.interface).map {
        free.choosing($0.address.bits, at: way.interface).checked(number)
      }
    }
  }

  /// The address to send to `remote` from: what the kernel would choose (RFC 6724 §5) if these were all there are.
  static func best(of addresses: [LocalAddress], for remote: IPAddress, leavingBy interface: UInt32) -> LocalAddress? {
    addresses.filter {
      $0.address.isIPv6 == remote.isIPv6 && $0.address.isLoopback == remote.isLoopback
        && ($0.interface == interface || !$0.address.isLinkLocal && !remote.isLinkLocal)
    }.max { OuterSources.rank($0, remote, interface) < OuterSources.rank($1, remote, interface) }
  }

  /// The higher the better: scope, then age, interface, label and the length of what both have in common.
  private static func rank(_ local: LocalAddress, _ remote: IPAddress, _ interface: UInt32) -> Int {
    let common =
      (local.address.bits.high ^ remote.bits.high).leadingZeroBitCount
    return (local.address.isLinkLocal == remote.isLinkLocal ? 1 << 12 : 0)
      + (local.isDeprecated ? 0 : 1 << 11)
      + (local.interface == interface ? 1 << 10 : 0)
      + (local.address.isUniqueLocal == remote.isUniqueLocal ? 1 << 9 : 0)
      + common
  }
}

extension PackedPath {
  fileprivate var sourceAddress: IPAddress { IPAddress(bits: source, isIPv6: isIPv6) }
  fileprivate var remoteAddress: IPAddress { IPAddress(bits: remote, isIPv6: isIPv6) }
}

extension IPAddress {
  fileprivate var isLoopback: Bool {
    isIPv6 ? bits.high == 0 && bits.low == 1 : bits.high >> 56 == 127
  }

  fileprivate var isLinkLocal: Bool { isIPv6 ? bits.high >> 54 == 0xFE80 >> 6 : bits.high >> 48 == 0xA9FE }

  /// RFC 4193; of IPv4 there is one label only.
  fileprivate var isUniqueLocal: Bool { isIPv6 && bits.high >> 57 == 0xFC >> 1 }
}
