import Glibc
import WG6Config
import WG6Protocol

/// The networks that this machine is directly connected to: what `lan` stands for in ExcludedIPs.
enum LocalNetworks {
  /// Those of all interfaces that are up, but for loopback and `interface`.
  static func connected(except interface: String?) throws -> [IPPrefix] {
    var first: UnsafeMutablePointer<ifaddrs>?
    guard unsafe getifaddrs(&first) == 0 else { throw failure("addresses of this machine: \(systemText(errno))") }
    defer { unsafe freeifaddrs(first) }
    var networks: [IPPrefix] = []
    var next = unsafe first
    while let entry = unsafe next {
      unsafe next = entry.pointee.ifa_next
      let flags = unsafe Int32(truncatingIfNeeded: entry.pointee.ifa_flags)
      guard flags & Int32(IFF_UP) != 0, flags & Int32(IFF_LOOPBACK) == 0,
        interface.map({ unsafe strcmp($0, entry.pointee.ifa_name) != 0 }) ?? true,
        let address = unsafe entry.pointee.ifa_addr.flatMap({ unsafe Endpoint(UnsafePointer($0)) })?.address,
        let mask = unsafe entry.pointee.ifa_netmask.flatMap({ unsafe Endpoint(UnsafePointer($0)) })?.address.bits
      else { continue }
      networks.append(IPPrefix(address, length: mask.high.nonzeroBitCount + mask.low.nonzeroBitCount))
    }
    return networks
  }
}
