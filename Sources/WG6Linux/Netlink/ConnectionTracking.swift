import CNetlink
import Glibc
import WG6Protocol

/// The kernel's table of connections (ctnetlink, `linux/netfilter/nfnetlink_conntrack.h`): who a packet is from that
/// was given another source by NAT.
final class ConnectionTracking {
  private let netlink: NetlinkSocket

  /// Nil where the kernel tracks no connections. It is not made to: asking would load the module.
  init?() {
    guard unsafe access("/sys/module/nf_conntrack", F_OK) == 0, let netlink = try? NetlinkSocket(NETLINK_NETFILTER)
    else {
      return nil
    }
    netlink.setPatience(milliseconds: 100)
    self.netlink = netlink
  }

  /// The address that the first packet of a connection came from; nil where there is no such connection.
  ///
  /// - Parameter flow: a packet of it as it is behind NAT.
  func originalSource(of flow: Flow) -> IPAddress? {
    guard let request = request(for: flow) else { return nil }
    var source: IPAddress?
    let result = netlink.ask(request) { answer in
      source = answer.address(
        [Attribute.original, Attribute.addresses, flow.source.isIPv6 ? Attribute.sourceIPv6 : Attribute.sourceIPv4],
        behind: nfgenmsg.self)
    }
    return result >= 0 ? source : nil
  }

  /// Looks an entry up by either of its directions. A packet behind NAT has neither: what answers it has.
  private func request(for flow: Flow) -> NetlinkRequest? {
    let isIPv6 = flow.source.isIPv6
    let header = nfgenmsg(nfgen_family: UInt8(isIPv6 ? AF_INET6 : AF_INET), version: 0, res_id: 0)
    // NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET
    guard let request = try? NetlinkRequest(1 << 8 | 1, header, for: "look up a connection") else { return nil }
    request.nest(Attribute.original) { request in
      request.nest(Attribute.addresses) { request in
        request.put(
          flow.destination.bits, isIPv6: isIPv6, as: isIPv6 ? Attribute.sourceIPv6 : Attribute.sourceIPv4)
        request.put(
          flow.source.bits, isIPv6: isIPv6, as: isIPv6 ? Attribute.destinationIPv6 : Attribute.destinationIPv4)
      }
      request.nest(Attribute.transport) { request in
        request.put(byte: flow.transport, as: Attribute.transportNumber)
        switch flow.ends {
        case .ports(let source, let destination):
          request.put(networkOrder: destination, as: Attribute.sourcePort)
          request.put(networkOrder: source, as: Attribute.destinationPort)
        case .echo(let identifier):
          // An answer to an echo request; its type and code stand behind the identifier.
          let first = isIPv6 ? Attribute.identifierIPv6 : Attribute.identifier
          request.put(networkOrder: identifier, as: first)
          request.put(byte: isIPv6 ? 129 : 0, as: first + 1)
          request.put(byte: 0, as: first + 2)
        case .none: break
        }
      }
    }
    return request
  }

  /// `enum ctattr_type` and those within.
  private enum Attribute {
    static let original = 1
    static let addresses = 1, transport = 2
    static let sourceIPv4 = 1, destinationIPv4 = 2, sourceIPv6 = 3, destinationIPv6 = 4
    static let transportNumber = 1, sourcePort = 2, destinationPort = 3, identifier = 4, identifierIPv6 = 7
  }
}

/// What connections are told apart by: addresses, the transport protocol's number, and what that has.
public struct Flow: Equatable, Sendable {
  public let source: IPAddress
  public let destination: IPAddress
  public let transport: UInt8
  public let ends: Ends

  public enum Ends: Equatable, Sendable {
    case ports(source: UInt16, destination: UInt16)
    /// Of an ICMP or ICMPv6 echo request.
    case echo(identifier: UInt16)
    case none
  }

  /// The flow of `packet`, or of as much as there is of it; nil where that is no packet. Extension headers of IPv6 are not
  /// looked into: NAT before a tunnel has none to do with.
  public init?(_ packet: UnsafeRawBufferPointer) {
    let isIPv6 = unsafe packet.count >= 40 && packet[0] >> 4 == 6
    guard isIPv6 || (unsafe packet.count >= 20 && packet[0] >> 4 == 4) else { return nil }
    let length = isIPv6 ? 16 : 4, first = isIPv6 ? 8 : 12
    guard
      let source = unsafe IPAddress(networkBytes: UnsafeRawBufferPointer(rebasing: packet[first..<first + length])),
      let destination = unsafe IPAddress(
        networkBytes: UnsafeRawBufferPointer(rebasing: packet[first + length..<first + 2 * length]))
    else { return nil }
    self.source = source
    self.destination = destination
    transport = unsafe isIPv6 ? packet[6] : packet[9]
    let start = unsafe isIPv6 ? 40 : Int(packet[0] & 0x0F) * 4
    func number(_ offset: Int) -> UInt16? {
      guard start + offset + 2 <= packet.count else { return nil }
      return unsafe UInt16(bigEndian: packet.loadUnaligned(fromByteOffset: start + offset, as: UInt16.self))
    }
    switch transport {
    // TCP, UDP, DCCP, SCTP, UDP-Lite
    case 6, 17, 33, 132, 136:
      guard let source = number(0), let destination = number(2) else { return nil }
      ends = .ports(source: source, destination: destination)
    case 1 where !isIPv6, 58 where isIPv6:
      guard let kind = number(0), kind == (isIPv6 ? 128 << 8 : 8 << 8), let identifier = number(4) else { return nil }
      ends = .echo(identifier: identifier)
    default: ends = .none
    }
  }
}
