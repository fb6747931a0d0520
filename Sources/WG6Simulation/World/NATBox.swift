import WG6Protocol

/// A box that hides hosts behind one address, remembering who talks to whom for as long as they do.
public final class NATBox {
  public let address: IPAddress
  /// Whether each remote end is shown a port of its own (symmetric), and only it may answer there; else one port is
  /// shown to all, and open to all.
  public let isEndpointDependent: Bool
  /// After this long without a datagram from inside, a mapping is forgotten (RFC 4787 §4.3: from inside only).
  public var memory: Nanoseconds

  private struct Mapping {
    let inside: Endpoint
    /// `nil` where any remote end uses it.
    let remote: Endpoint?
    let port: UInt16
    var usedAt: Nanoseconds
  }

  private var mappings: [Mapping] = []
  private var nextPort: UInt16 = 20000

  init(address: IPAddress, isEndpointDependent: Bool, memory: Nanoseconds) {
    self.address = address
    self.isEndpointDependent = isEndpointDependent
    self.memory = memory
  }

  /// It forgets everything, as after a power cut; new mappings get other ports.
  public func reboot() {
    mappings.removeAll()
    nextPort &+= 1000
    if nextPort < 1024 { nextPort = 20000 }
  }

  /// The source that a datagram of `inside` to `remote` shows.
  func outside(of inside: Endpoint, to remote: Endpoint, now: Nanoseconds) -> Endpoint {
    expire(now)
    let wanted = isEndpointDependent ? remote : nil
    if let index = mappings.firstIndex(where: { $0.inside == inside && $0.remote == wanted }) {
      mappings[index].usedAt = now
      return Endpoint(address: address, port: mappings[index].port)
    }
    nextPort = nextPort == .max ? 20000 : nextPort + 1
    mappings.append(Mapping(inside: inside, remote: wanted, port: nextPort, usedAt: now))
    return Endpoint(address: address, port: nextPort)
  }

  /// Who inside gets a datagram of `remote` to `port`.
  func inside(of port: UInt16, from remote: Endpoint, now: Nanoseconds) -> Endpoint? {
    expire(now)
    return mappings.first { $0.port == port && ($0.remote == nil || $0.remote == remote) }?.inside
  }

  private func expire(_ now: Nanoseconds) {
    mappings.removeAll { now - $0.usedAt > memory }
  }
}
