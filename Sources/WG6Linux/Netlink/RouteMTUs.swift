import CNetlink
import Glibc

extension NetlinkSocket {
  /// The MTUs that routes through the interface set for themselves, each once, ascending; of all tables and both families.
  ///
  /// The kernel picks the interface's routes out (Linux 5.0); where it can't there are none, for reading a whole routing
  /// table is too much to do whenever it changes.
  public static func routeMTUs(via index: UInt32) -> [Int] {
    var found: Set<Int> = []
    for family in [AF_INET, AF_INET6] {
      let operation = "read the MTUs of routes"
      guard let request = try? RouteEntry.request(family, for: operation) else { return [] }
      request.put(index, as: Int(RTA_OIF.rawValue))
      let mtus = try? NetlinkList.read(request, for: operation, needsFilter: true) { RouteEntry($0, family)?.mtu }
      found.formUnion(mtus ?? [])
    }
    return found.sorted()
  }
}
