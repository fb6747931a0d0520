import CNetlink
import Glibc
import SystemPackage
import WG6Protocol

/// What of router advertisements an interface takes.
public enum RouterAdvertisements: String, Hashable, Sendable {
  case none
  /// Addresses, MTU and hop limit, and no default route.
  case withoutDefaultRoute = "without-default-route"
  case all

  /// Settings of `net.ipv6.conf.IF`, in the order in which they are made.
  private var settings: [(name: String, value: String)] {
    switch self {
    case .none: [("accept_ra", "0")]
    // 2: also where this machine forwards, as a router behind the tunnel does.
    case .withoutDefaultRoute: [("accept_ra_defrtr", "0"), ("accept_ra", "2")]
    case .all: [("accept_ra_defrtr", "1"), ("accept_ra", "2")]
    }
  }

  /// Whether `interface` has these settings, in the network namespace of the calling thread.
  public func isInForce(on interface: String) -> Bool {
    settings.allSatisfy { (try? Sysctl.value(of: "net/ipv6/conf/\(interface)/\($0.name)")) == $0.value }
  }

  /// Makes the settings. They are the interface's, and gone with it.
  ///
  /// Returns what could not be changed, in words for people; empty where all could.
  public func apply(to interface: String) -> [String] {
    settings.compactMap { name, value in
      let setting = "net/ipv6/conf/\(interface)/\(name)"
      do throws(Errno) {
        if try Sysctl.value(of: setting) != value { try Sysctl.set(setting, to: value) }
        return nil
      } catch {
        return "\(setting) cannot be set to \(value): \(error)"
      }
    }
  }
}

extension NetlinkSocket {
  /// Takes away what router advertisements gave the interface: addresses and routes with a lifetime, and routes of the
  /// kernel's protocol for them (`RTPROT_RA`).
  public func forgetRouters(of link: Link) throws(NetlinkError) {
    for (address, length) in try temporaryAddresses(of: link) {
      do throws(NetlinkError) {
        try removeAddress(address, prefixLength: length, from: link)
      } catch  where error.isMissing {
      }
    }
    let operation = "read the routes of \(link.name)"
    let request = try RouteEntry.request(AF_INET6, for: operation)
    request.put(UInt32(link.index), as: Int(RTA_OIF.rawValue))
    let routes = try NetlinkList.read(request, for: operation) { answer -> RouteEntry? in
      // rta_expires of RTA_CACHEINFO (<linux/rtnetlink.h>).
      let expires = answer.number(12, at: 8, behind: rtmsg.self) ?? 0
      guard let entry = RouteEntry(answer, AF_INET6), entry.leads(to: link.index), entry.isOfRouter || expires != 0
      else {
        return nil
      }
      return entry
    }
    for route in routes {
      let result = unsafe rtnl_route_delete(socket, route.route, 0)
      let error = NetlinkError(result, "remove a router's route from \(link.name)")
      if result < 0, !error.isMissing { throw error }
    }
  }
}
