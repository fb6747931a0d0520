import WG6Crypto

/// What a capture takes: a packet that fits one of each kind that is given. What is not given does not limit.
public struct CaptureFilter: Equatable, Sendable {
  /// Peers, prefixes at most: a look at each packet goes through them.
  public static let mostPeers = 8, mostPrefixes = 16

  public var peers: [PublicKey] = []
  /// Either end of the packet is in one of them.
  public var prefixes: [IPPrefix] = []
  /// Numbers of the protocol that the packet carries.
  public var protocols: [UInt8] = []
  /// What was dropped, in place of what was sent and delivered.
  public var takesDrops = false

  public init() {}
}

/// A filter as the data threads see it: plain values.
struct CompiledFilter {
  private var peers = InlineArray<8, PublicKey?>(repeating: nil)
  private var peerCount = 0
  private var prefixes = InlineArray<16, IPPrefix?>(repeating: nil)
  private var prefixCount = 0
  /// A bit a protocol.
  private var protocols = InlineArray<4, UInt64>(repeating: 0)
  private let hasProtocols: Bool
  let takesDrops: Bool

  /// Nil where there is more in it than may be.
  init?(_ filter: CaptureFilter) {
    guard filter.peers.count <= CaptureFilter.mostPeers, filter.prefixes.count <= CaptureFilter.mostPrefixes else {
      return nil
    }
    for peer in filter.peers {
      peers[peerCount] = peer
      peerCount += 1
    }
    for prefix in filter.prefixes {
      prefixes[prefixCount] = prefix
      prefixCount += 1
    }
    for number in filter.protocols { protocols[Int(number) / 64] |= 1 << (UInt64(number) % 64) }
    hasProtocols = !filter.protocols.isEmpty
    takesDrops = filter.takesDrops
  }

  /// Whether a packet is taken; `headers` are nil where there is none, or none that can be read.
  func admits(_ headers: PacketHeaders?, of peer: PublicKey?, isDropped: Bool) -> Bool {
    guard isDropped == takesDrops, admits(peer) else { return false }
    guard prefixCount > 0 || hasProtocols else { return true }
    guard let headers else { return false }
    if hasProtocols, protocols[Int(headers.carried) / 64] >> (UInt64(headers.carried) % 64) & 1 == 0 { return false }
    guard prefixCount > 0 else { return true }
    for index in 0..<prefixCount {
      if let prefix = prefixes[index], prefix.contains(headers.source) || prefix.contains(headers.destination) {
        return true
      }
    }
    return false
  }

  private func admits(_ peer: PublicKey?) -> Bool {
    guard peerCount > 0 else { return true }
    guard let peer else { return false }
    for index in 0..<peerCount where peers[index] == peer { return true }
    return false
  }
}
