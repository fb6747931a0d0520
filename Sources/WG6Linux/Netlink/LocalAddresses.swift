import CNetlink
import Glibc
import WG6Protocol

/// An address of this machine, as far as it matters to who is to send from it.
public struct LocalAddress: Sendable, Equatable {
  public var address: IPAddress
  /// The index of the interface that has it.
  public var interface: UInt32
  /// Whether new connections are not to begin with it.
  public var isDeprecated: Bool

  public init(_ address: IPAddress, interface: UInt32, isDeprecated: Bool = false) {
    self.address = address
    self.interface = interface
    self.isDeprecated = isDeprecated
  }
}

/// An address that an interface has, with the length of the network that it is in there.
public struct AssignedAddress: Sendable, Hashable {
  public var address: IPAddress
  public var prefixLength: Int
  /// The index of the interface that has it.
  public var interface: UInt32

  public init(_ address: IPAddress, prefixLength: Int, interface: UInt32) {
    self.address = address
    self.prefixLength = prefixLength
    self.interface = interface
  }

  /// Addresses of the network that the kernel takes for its own as well: IPv4's broadcast address, and the network's own,
  /// which was one before Linux 5.14; IPv6's anycast address of routers (RFC 4291 §2.6.1).
  public var groupAddresses: [IPAddress] {
    let first = IPPrefix(address, length: prefixLength).address
    guard case .v4(let bits) = first else { return prefixLength < 127 ? [first] : [] }
    return prefixLength < 31 ? [first, .v4(bits | UInt32.max >> UInt32(prefixLength))] : []
  }
}

extension NetlinkSocket {
  /// The addresses of all interfaces, but for those that can't be used yet or are another machine's as well.
  public static func localAddresses() throws(NetlinkError) -> [LocalAddress] {
    try usableAddresses { address, entry, flags in
      LocalAddress(address, interface: entry.ifa_index, isDeprecated: flags & UInt32(IFA_F_DEPRECATED) != 0)
    }
  }

  /// The same, with their networks.
  public static func assignedAddresses() throws(NetlinkError) -> [AssignedAddress] {
    try usableAddresses { address, entry, _ in
      let length = min(Int(entry.ifa_prefixlen), address.bitWidth)
      return AssignedAddress(address, prefixLength: length, interface: entry.ifa_index)
    }
  }

  private static func usableAddresses<Address>(
    _ make: @escaping (IPAddress, ifaddrmsg, _ flags: UInt32) -> Address
  ) throws(NetlinkError) -> [Address] {
    var header = ifaddrmsg()
    header.ifa_family = UInt8(AF_UNSPEC)
    let operation = "read the addresses of this machine"
    let request = try NetlinkRequest(RTM_GETADDR, flags: NLM_F_DUMP, header, for: operation)
    return try NetlinkList.read(request, for: operation) { answer in
      guard let entry = answer.header(ifaddrmsg.self),
        let address = answer.address(IFA_LOCAL, behind: ifaddrmsg.self)
          ?? answer.address(IFA_ADDRESS, behind: ifaddrmsg.self)
      else { return nil }
      let flags = answer.number(IFA_FLAGS, behind: ifaddrmsg.self) ?? UInt32(entry.ifa_flags)
      let isOptimistic = flags & UInt32(IFA_F_OPTIMISTIC) != 0
      guard flags & UInt32(IFA_F_DADFAILED) == 0, flags & UInt32(IFA_F_TENTATIVE) == 0 || isOptimistic else {
        return nil
      }
      return make(address, entry, flags)
    }
  }

  /// Where the kernel would send a datagram along `path` under `mark`, and from which address; nil if it knows no way.
  func way(along path: PackedPath, mark: UInt32) -> (interface: UInt32, source: IPAddress?)? {
    guard let route = route(along: path, mark: mark), let hop = route.hops.first else { return nil }
    return (UInt32(hop.interface), route.source)
  }
}
