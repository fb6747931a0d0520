import Glibc

/// systemd-resolved's own command line.
struct Resolvectl {
  let machine: ResolverSurroundings

  init(_ machine: ResolverSurroundings) {
    self.machine = machine
  }

  /// Domains come first: servers without any would for a moment be asked about every name.
  func apply(_ request: ResolverRequest, to interface: String) throws(ResolverError) {
    // "~." has every name asked here first, as `resolvconf -x` has it.
    let isForAll = request.routingDomains.isEmpty
    let routing = isForAll ? ["~."] : request.routingDomains.map { "~" + $0 }
    try run("domain", interface, request.searchDomains + routing)
    try run("default-route", interface, [isForAll ? "yes" : "no"])
    try run("dns", interface, request.servers)
  }

  /// It forgets by itself what it was told about an interface that is gone.
  func revert(_ interface: String) throws(ResolverError) {
    func isGone() -> Bool { unsafe if_nametoindex(interface) == 0 }
    guard !isGone() else { return }
    do throws(ResolverError) {
      try run("revert", interface)
    } catch {
      if !isGone() { throw error }
    }
  }

  private func run(_ verb: String, _ interface: String, _ values: [String] = []) throws(ResolverError) {
    // Behind "--" nothing is an option, whatever an interface is called.
    try machine.run("resolvectl", ["--", verb, interface] + values)
  }
}
