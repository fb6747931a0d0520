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
  case noPeerForDestination
  case noEndpoint
  case stagedTooLong
  case handshakeGivenUp
  case networkRefusedMessage
}
