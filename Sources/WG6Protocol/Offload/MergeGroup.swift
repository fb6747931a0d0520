/// What may be merged.
public struct MergeRules: Sendable {
  /// A super-packet's length at most, in bytes.
  static let longest = 65535

  /// Whether TCP segments are merged (the device knows TSO4 and TSO6).
  public var tcp = true
  /// Whether UDP datagrams are (the device knows USO4 and USO6: from Linux 6.2 on).
  public var udp = true
  /// Datagrams in one super-packet at most; older kernels take no more than 64.
  public var datagrams = 64
  /// Whether the last segment may be shorter than the others; some kernels between 6.6 and 6.12 refuse that.
  public var takesShortTail = true

  public init() {}

  /// Each packet on its own.
  public static let nothing: MergeRules = {
    var rules = MergeRules()
    rules.tcp = false
    rules.udp = false
    return rules
  }()
}

/// Packets of one flow that will be written as one, the first of them giving the headers.
@safe struct MergeGroup {
  let first: MergeablePacket
  /// Where the batch has the first packet and the last one.
  let firstLink: Int32
  var lastLink: Int32
  /// Packets.
  private(set) var count = 1
  /// Bytes of the super-packet.
  private(set) var length: Int
  /// Whether another packet may come behind the last one.
  private var isOpen: Bool
  /// Whether the checksums of the first packet were looked at, which is not done before there is a second.
  private var isVerified = false
  private var isPushed: Bool
  /// By how much the IPv4 identification grows from packet to packet, once there are two.
  private var identificationStep: UInt16 = 1

  init(_ packet: MergeablePacket, link: Int32, _ rules: MergeRules) {
    first = packet
    firstLink = link
    lastLink = link
    length = packet.length
    isPushed = packet.kind == .tcp && packet.isMergeable && packet.flags & TCPFlags.psh != 0
    let isWanted =
      switch packet.kind {
      case .tcp: rules.tcp
      case .udp: rules.udp && rules.datagrams > 1
      case .opaque: false
      }
    isOpen = isWanted && packet.isMergeable && !isPushed
  }

  /// Takes `packet`, of the same flow, in as the last of the group; false where it does not belong there, and begins
  /// another one.
  ///
  /// The checksums of both are verified before they are merged: from then on the device computes them anew, right ones
  /// for wrong bytes.
  mutating func append(_ packet: MergeablePacket, _ rules: MergeRules) -> Bool {
    guard isOpen, packet.isMergeable, fits(packet, rules), packet.hasHeaders(of: first), continues(packet),
      isVerified || first.isIntact, packet.isIntact
    else { return false }
    isVerified = true
    if count == 1, !first.isIPv6 { identificationStep = packet.identification &- first.identification }
    if first.kind == .tcp { isPushed = packet.flags & TCPFlags.psh != 0 }
    count += 1
    length += packet.payloadLength
    isOpen =
      packet.payloadLength == first.payloadLength && !isPushed && (first.kind == .tcp || count < rules.datagrams)
    return true
  }

  private func fits(_ packet: MergeablePacket, _ rules: MergeRules) -> Bool {
    let isShort = packet.payloadLength < first.payloadLength
    return packet.payloadLength <= first.payloadLength && (!isShort || rules.takesShortTail)
      && length + packet.payloadLength <= MergeRules.longest
  }

  /// Whether `packet` has the numbers of the one that comes next.
  ///
  /// The IPv4 identification grows by one, as it will when the super-packet is split; or it stays the same, which it may
  /// do under DF, where it has no meaning (RFC 6864 §4.1). Linux holds it so, too.
  private func continues(_ packet: MergeablePacket) -> Bool {
    if !first.isIPv6 {
      let step = packet.identification &- first.identification
      let hasDF = unsafe UnsafeRawPointer(first.base).half(IPv4Header.fragment) & IPv4Header.dontFragment != 0
      let expected = count == 1 && step == 0 ? 0 : identificationStep &* UInt16(truncatingIfNeeded: count)
      guard step == expected, step != 0 || hasDF else { return false }
    }
    guard first.kind == .tcp else { return true }
    return packet.flags & TCPFlags.cwr == 0
      && packet.sequence == first.sequence &+ UInt32(truncatingIfNeeded: length - first.headerLength)
  }

  /// What a device that refuses this group does not take: the rule that keeps others like it from being made.
  func withdraw(from rules: inout MergeRules, lastPayload: Int) {
    if lastPayload < first.payloadLength, rules.takesShortTail {
      rules.takesShortTail = false
    } else if first.kind == .udp {
      rules.udp = false
    } else {
      rules.tcp = false
    }
  }

  /// Makes the headers of the first packet those of the super-packet, and writes the virtio header before them.
  func finish() {
    let packet = unsafe first.base
    guard count > 1 else { return unsafe VirtioHeader().write(to: packet - VirtioHeader.length) }
    if first.isIPv6 {
      unsafe packet.put(UInt16(length - IPv6Header.length), at: IPv6Header.payloadLength)
    } else {
      unsafe packet.put(UInt16(length), at: IPv4Header.totalLength)
      unsafe packet.put(0 as UInt16, at: IPv4Header.checksum)
      var checksum = InternetChecksum()
      unsafe checksum.add(UnsafeRawBufferPointer(start: packet, count: IPv4Header.length))
      unsafe packet.put(checksum.value, at: IPv4Header.checksum)
    }
    let isTCP = first.kind == .tcp
    let header = unsafe packet + first.transport
    var sum = InternetChecksum()
    unsafe sum.addPseudoHeader(
      of: packet, isIPv6: first.isIPv6, protocol: isTCP ? IPProtocol.tcp : IPProtocol.udp)
    sum.add(UInt32(length - first.transport))
    if isTCP {
      if isPushed { unsafe header.put(first.flags | TCPFlags.psh, at: TCPHeader.flags) }
    } else {
      unsafe header.put(UInt16(length - first.transport), at: UDPHeader.datagramLength)
    }
    let checksumOffset = isTCP ? TCPHeader.checksum : UDPHeader.checksum
    unsafe header.put(sum.partial, at: checksumOffset)
    let virtio = VirtioHeader(
      isTCP ? (first.isIPv6 ? .tcpv6 : .tcpv4) : .udp, hasECN: isTCP && first.flags & TCPFlags.cwr != 0,
      segmentSize: first.payloadLength, headerLength: first.headerLength, checksumStart: first.transport,
      checksumOffset: checksumOffset)
    unsafe virtio.write(to: packet - VirtioHeader.length)
  }
}
