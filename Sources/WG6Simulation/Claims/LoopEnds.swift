import WG6Protocol

/// However tunnels lead through each other, one packet does not keep them busy.
public struct LoopsEnd: Claim {
  public static let sentence =
    "a packet that goes round through tunnels costs no more than 70,000 bytes, of all rounds together; so do the handshakes"
    + " that follow, in any 5 s; and they end"
  public static let limit = 70_000

  private var machine: Machine?
  private var before = 0
  private var complaint: String?

  public init() {}

  /// The packet is about to be sent.
  mutating func begin(_ machine: Machine) {
    self.machine = machine
    before = machine.byteCount
  }

  /// Bytes since `begin`.
  public var byteCount: Int { machine.map { $0.byteCount - before } ?? 0 }

  /// Bytes were sent in some 5 s.
  mutating func note(_ count: Int, in what: String) {
    if count > LoopsEnd.limit, complaint == nil { complaint = "the machine's tunnels have sent \(count) bytes \(what)" }
  }

  public mutating func observe(_ observation: Observation, in world: World) -> String? { nil }

  public mutating func end(in world: World) -> String? { machine == nil ? "no packet was sent" : complaint }
}
