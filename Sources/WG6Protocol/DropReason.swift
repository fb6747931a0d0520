/// Why a packet or a message went no further. The raw value is the index of its counter.
public enum DropReason: UInt8, CaseIterable, Sendable {
  // What came from the network.
  case malformedMessage
  case badMac1
  case cookieRequired
  case rateLimited
  case handshakeQueueFull
  case unknownReceiver
  case unknownPeer
  case unauthenticatedHandshake
  case staleTimestamp
  case initiationFlood
  case unexpectedResponse
  case unexpectedCookieReply
  case unauthenticatedData
  case replayedData
  case expiredKey
  case malformedPacket
  case sourceNotAllowed
  case deviceRefusedPacket

  // What was to go out.
  case notAnIPPacket
  case malformedSuperPacket
  case noPeerForDestination
  case noEndpoint
  case packetTooBig
  case multicastLimit
  case routingLoop
  case stagedTooLong
  case handshakeUnanswered
  case handshakeGivenUp
  case noOuterSource
  case networkRefusedMessage
  case endpointUnreachable
}

/// How much was dropped, by reason.
public struct DropCounts: Equatable, Sendable {
  private var counts = [UInt64](repeating: 0, count: DropReason.allCases.count)

  /// Nothing dropped.
  public init() {}

  public subscript(reason: DropReason) -> UInt64 {
    get { counts[Int(reason.rawValue)] }
    set { counts[Int(reason.rawValue)] = newValue }
  }

  /// The reasons that something was dropped for, in the order of `DropReason`.
  public var reasons: [DropReason] { DropReason.allCases.filter { self[$0] > 0 } }
}
