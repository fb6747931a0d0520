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

extension NetlinkSocket {
  /// The addresses of all interfaces, but for those that can't be used yet or are another machine's as well.
  public static func localAddresses() throws(NetlinkError) -> [LocalAddress] {
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
      return LocalAddress(
        address, interface: entry.ifa_index, isDeprecated: flags & UInt32(IFA_F_DEPRECATED) != 0)
    }
  }

  /// Where the kernel would send a datagram along `path` under `mark`, and from which address; nil if it knows no way.
  func way(along path: PackedPath, mark: UInt32) -> (interface: UInt32, source: IPAddress?)? {
    guard let route = route(along: path, mark: mark), let hop = route.hops.first else { return nil }
    return (UInt32(hop.interface), route.source)
  }
}
