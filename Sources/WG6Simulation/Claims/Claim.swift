import WG6Protocol

/// What a claim gets to see of a world. Hosts are numbers in `World.hosts`.
public enum Observation {
  /// A program hands a packet to its host.
  case pushed(UInt64, by: Int, to: Int)
  /// A host puts a datagram on the wire, before any NAT box.
  case sent(Datagram, by: Int)
  /// A datagram is about to be looked at by a host.
  case arrived(Cause, at: Int)
  /// A packet came out of the tunnel.
  case accepted([UInt8], at: Int, Cause)
  /// A device tells something; because of a datagram, or because time has passed.
  case reported(Device.Report, by: Int, Cause?)
  case changed(Change, of: Int)

  /// `key`: its own, or one that it knows a peer by.
  public enum Change: Sendable { case awake, restarted, key }
}

/// A datagram that a host deals with, and where it really comes from.
public struct Cause {
  public let datagram: Datagram
  public let provenance: Provenance

  public init(_ datagram: Datagram, from provenance: Provenance) {
    self.datagram = datagram
    self.provenance = provenance
  }

  /// The host that made exactly these bytes, and when; `nil` for a stranger's work.
  var sender: (host: Int, sentAt: Nanoseconds)? {
    if case .host(let host, let sentAt) = provenance { (host, sentAt) } else { nil }
  }
}

public enum Provenance: Sendable {
  /// Exactly these bytes were put on the wire by this host of ours, at that instant.
  case host(Int, sentAt: Nanoseconds)
  case stranger
}

/// Something that must be so in every world. Keeps what it needs of what it sees, and says what is wrong.
public protocol Claim {
  /// What must be so, as a sentence.
  static var sentence: String { get }
  /// Takes something in; says what is wrong with it.
  mutating func observe(_ observation: Observation, in world: World) -> String?
  /// Called when a world has ended; says what is wrong with it.
  mutating func end(in world: World) -> String?
}

extension Claim {
  public mutating func end(in world: World) -> String? { nil }
}

/// Something that was claimed, and was not so.
public struct Violation: Sendable, CustomStringConvertible {
  public let claim: String
  /// Since the world began.
  public let at: Nanoseconds
  public let complaint: String

  public var description: String { "\(Trace.seconds(at))  \(complaint)\n             against: \(claim)" }
}
