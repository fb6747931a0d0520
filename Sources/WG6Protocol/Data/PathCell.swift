import Synchronization

/// The way to a peer, where the inbound thread writes it (roaming), the control path too (handshakes, configuration),
/// and the outbound thread reads it for every train: a sequence lock over seven words.
///
/// Writers exclude each other by the odd sequence number; a roaming writer that finds another at work steps back, for
/// what is being written is as new as its own.
struct PathCell: ~Copyable {
  private let sequence = Atomic<UInt64>(0)
  private let words: InlineArray<7, Atomic<UInt64>>

  init() {
    words = InlineArray { _ in Atomic(0) }
  }

  /// The path, or one that is not `isKnown`.
  func load() -> PackedPath {
    while true {
      let before = sequence.load(ordering: .acquiring)
      if before & 1 == 0 {
        let path = PackedPath(words: InlineArray { words[$0].load(ordering: .relaxed) })
        atomicMemoryFence(ordering: .acquiring)
        if sequence.load(ordering: .relaxed) == before { return path }
      }
      // A write is seven stores long.
    }
  }

  /// A number that is another one after each change.
  var version: UInt64 { sequence.load(ordering: .acquiring) }

  /// Puts `path` in place of what is there, waiting for another writer.
  func store(_ path: PackedPath) {
    while !tryStore(path) {}
  }

  /// Puts `path` there unless another writer is at work.
  func tryStore(_ path: PackedPath) -> Bool {
    tryUpdate { _ in path }
  }

  /// Leaves the local end to the kernel, whatever the remote end is by now.
  func forgetSource() {
    while load().hasSource, !tryUpdate({ $0.withoutSource }) {}
  }

  /// Lets the kernel choose the local end if `path` is still what is there.
  func forgetSource(of path: PackedPath) {
    while load() == path, path.hasSource, !tryUpdate({ $0 == path ? $0.withoutSource : $0 }) {}
  }

  /// Puts `newPath` there if `path` still is, and no other writer is at work. A review of `path` that has come between
  /// stays: it is newer than what `newPath` was made from.
  func replace(_ path: PackedPath, by newPath: PackedPath) {
    _ = tryUpdate { $0 == path ? newPath.keepingReview(of: $0) : $0 }
  }

  /// Notes what a review of `path` has found, if `path` is still there.
  func review(_ path: PackedPath, tunnelMTU: Int?) {
    while load() == path, !tryUpdate({ $0 == path ? $0.reviewed(tunnelMTU: tunnelMTU) : $0 }) {}
  }

  /// Puts `path`, which a peer wrote from, there unless another writer is at work. If the peer is where it was, but for the
  /// port, what was found out about the way to it still holds.
  func tryRoam(to path: PackedPath) -> Bool {
    tryUpdate { path.hasSameWay(as: $0) ? path.reviewed(as: $0) : path }
  }

  /// The longest packet that goes along the path whole; see `PackedPath.longestWhole`.
  var longestWhole: Int { PackedPath.longestWhole(words[PackedPath.limitWord].load(ordering: .relaxed)) }

  /// Replaces what is there by what `change` makes of it, unless another writer is at work.
  private func tryUpdate(_ change: (PackedPath) -> PackedPath) -> Bool {
    let before = sequence.load(ordering: .relaxed)
    guard before & 1 == 0,
      sequence.compareExchange(expected: before, desired: before + 1, ordering: .acquiringAndReleasing).exchanged
    else { return false }
    atomicMemoryFence(ordering: .releasing)
    let path = change(PackedPath(words: InlineArray { words[$0].load(ordering: .relaxed) }))
    for index in words.indices { words[index].store(path.words[index], ordering: .relaxed) }
    sequence.store(before + 2, ordering: .releasing)
    return true
  }
}

/// A `Path` as seven words: cheap to compare, and what a socket address is made from without a detour.
public struct PackedPath: Equatable, Sendable {
  /// Remote address (2), local address (2), check and flags and port, limit and zone, local interface.
  var words: InlineArray<7, UInt64>

  /// The word that the limit is in, above the zone: the bytes of the longest packet that goes whole through another tunnel
  /// on the way, 0 where there is none.
  static let limitWord = 5
  private static let limitShift: UInt64 = 32

  private enum Flag {
    static let known: UInt64 = 1 << 16
    static let isIPv6: UInt64 = 1 << 17
    static let hasSource: UInt64 = 1 << 18
    static let isChosen: UInt64 = 1 << 19
    static let isReviewed: UInt64 = 1 << 20
    /// Above the flags: the check that the local end has passed.
    static let checkShift: UInt64 = 32
    static let isWay: UInt64 = (1 << 19) - 1
  }

  init(words: InlineArray<7, UInt64>) {
    self.words = words
  }

  /// No path.
  public init() {
    words = InlineArray(repeating: 0)
  }

  public init(_ path: Path) {
    self.init(
      remote: path.remote.address.bits, isIPv6: path.remote.address.isIPv6, port: path.remote.port,
      zone: path.remote.zone, source: path.source?.bits, sourceInterface: path.sourceInterface)
  }

  /// The parts as a socket call gives them, addresses of IPv4 in the topmost 32 bits.
  public init(
    remote: AddressBits, isIPv6: Bool, port: UInt16, zone: UInt32, source: AddressBits?, sourceInterface: UInt32
  ) {
    let flags = Flag.known | (isIPv6 ? Flag.isIPv6 : 0) | (source == nil ? 0 : Flag.hasSource)
    words = [
      remote.high, remote.low, source?.high ?? 0, source?.low ?? 0, UInt64(port) | flags, UInt64(zone),
      UInt64(sourceInterface),
    ]
  }

  /// Whether both are the same way. How their local ends came about makes no difference.
  public static func == (left: PackedPath, right: PackedPath) -> Bool {
    var difference = (left.words[4] ^ right.words[4]) & Flag.isWay
    for index in 0..<4 { difference |= left.words[index] ^ right.words[index] }
    difference |= UInt64(left.zone ^ right.zone) | (left.words[6] ^ right.words[6])
    return difference == 0
  }

  public var isKnown: Bool { words[4] & Flag.known != 0 }
  public var isIPv6: Bool { words[4] & Flag.isIPv6 != 0 }
  public var port: UInt16 { UInt16(truncatingIfNeeded: words[4]) }
  public var zone: UInt32 { UInt32(truncatingIfNeeded: words[PackedPath.limitWord]) }
  public var remote: AddressBits { AddressBits(high: words[0], low: words[1]) }
  public var hasSource: Bool { words[4] & Flag.hasSource != 0 }
  public var source: AddressBits { AddressBits(high: words[2], low: words[3]) }
  public var sourceInterface: UInt32 { UInt32(truncatingIfNeeded: words[6]) }

  /// Whether both lead to the same address and port.
  func hasSameRemote(as other: PackedPath) -> Bool {
    isKnown && other.isKnown && remote == other.remote && isIPv6 == other.isIPv6 && port == other.port
  }

  /// The same way to the same remote, the local end left to the kernel.
  public var withoutSource: PackedPath {
    var copy = self
    copy.words[2] = 0
    copy.words[3] = 0
    copy.words[4] &= Flag.isWay & ~Flag.hasSource
    copy.words[5] = UInt64(zone)
    copy.words[6] = 0
    return copy
  }

  /// The number of the last check that the local end has passed (`OuterSources` counts them); 0 before the first.
  public var check: UInt32 { UInt32(words[4] >> Flag.checkShift) }

  /// The same, its local end found in order by check `number`.
  public func checked(_ number: UInt32) -> PackedPath {
    var copy = self
    copy.words[4] = copy.words[4] & (1 << Flag.checkShift - 1) | UInt64(number) << Flag.checkShift
    return copy
  }

  /// Whether the local end was chosen in the kernel's place, until its choice can be used again.
  public var isChosen: Bool { words[4] & Flag.isChosen != 0 }

  /// The same remote, from a local end that is chosen in the kernel's place.
  public func choosing(_ source: AddressBits, at interface: UInt32) -> PackedPath {
    var copy = self
    copy.words[2] = source.high
    copy.words[3] = source.low
    copy.words[4] |= Flag.hasSource | Flag.isChosen
    copy.words[6] = UInt64(interface)
    return copy
  }

  // MARK: Reviews

  /// Whether it was found out where datagrams along it leave the machine.
  public var isReviewed: Bool { words[4] & Flag.isReviewed != 0 }

  /// The longest packet, in bytes, whose datagram goes whole through the other tunnel that the path leads through;
  /// `Limits.longestPacket` if it leads through none, or if that is not known yet.
  public var longestWhole: Int { PackedPath.longestWhole(words[PackedPath.limitWord]) }

  /// Whether another tunnel of this machine, or the same one, carries datagrams along it.
  public var leadsThroughTunnel: Bool { words[PackedPath.limitWord] >> PackedPath.limitShift != 0 }

  /// The longest datagram, in bytes, that may go along it if another tunnel is on the way: what goes whole through that, but
  /// never less than what carries a packet that every IPv6 link must carry. Elsewhere any.
  public var longestDatagram: Int {
    leadsThroughTunnel ? max(longestWhole, Limits.smallestMTU) + DataMessage.overhead : .max
  }

  static func longestWhole(_ word: UInt64) -> Int {
    let limit = Int(word >> limitShift)
    return limit == 0 ? Limits.longestPacket : limit
  }

  /// The same, reviewed.
  ///
  /// - Parameter tunnelMTU: of the interface that datagrams leave by, in bytes; nil if that is no tunnel.
  public func reviewed(tunnelMTU: Int?) -> PackedPath {
    var copy = self
    copy.words[4] |= Flag.isReviewed
    copy.words[PackedPath.limitWord] = UInt64(zone)
    if let tunnelMTU {
      let outer = (isIPv6 ? 40 : 20) + 8 + DataMessage.overhead
      // 1 byte is less than any packet has, and 0 stands for no limit.
      let limit = min(max(tunnelMTU - outer, 1), Limits.longestPacket)
      copy.words[PackedPath.limitWord] |= UInt64(limit) << PackedPath.limitShift
    }
    return copy
  }

  /// The same with what a review of `other` has found, and the check that the local end of that has passed.
  func reviewed(as other: PackedPath) -> PackedPath {
    var copy = self
    copy.words[4] = copy.words[4] & Flag.isWay | other.words[4] & ~(Flag.isWay | Flag.isChosen)
    copy.words[PackedPath.limitWord] = UInt64(zone) | (other.words[PackedPath.limitWord] >> 32) << 32
    return copy
  }

  /// The same with the review of `other` in place of its own, if both have one.
  fileprivate func keepingReview(of other: PackedPath) -> PackedPath {
    guard isReviewed, other.isReviewed, hasSource == other.hasSource, source == other.source else { return self }
    var copy = self
    copy.words[PackedPath.limitWord] = other.words[PackedPath.limitWord]
    return copy
  }

  /// Whether the kernel sends along both by the same route: all but the port is the same.
  fileprivate func hasSameWay(as other: PackedPath) -> Bool {
    let port: UInt64 = 0xFFFF
    var difference = (words[4] ^ other.words[4]) & Flag.isWay & ~port
    for index in 0..<4 { difference |= words[index] ^ other.words[index] }
    difference |= UInt64(zone ^ other.zone) | (words[6] ^ other.words[6])
    return difference == 0
  }

  /// The remote end; `nil` where there is none.
  public var endpoint: Endpoint? {
    guard isKnown else { return nil }
    return Endpoint(address: IPAddress(bits: remote, isIPv6: isIPv6), port: port, zone: zone)
  }
}
