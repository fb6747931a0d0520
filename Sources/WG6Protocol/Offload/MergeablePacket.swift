/// A packet that came out of the tunnel, as far as merging needs to know it.
@safe struct MergeablePacket {
  enum Kind {
    case tcp
    case udp
    /// Anything else: fragments, what has IPv4 options or IPv6 extension headers, other protocols.
    case opaque
  }

  // SAFETY: `length` bytes, the caller's, in which headers of `headerLength` bytes were found.
  let base: UnsafeMutableRawPointer
  let length: Int
  let kind: Kind
  let isIPv6: Bool
  /// Where the TCP or UDP header begins.
  let transport: Int
  /// All headers.
  let headerLength: Int
  /// Whether it can be part of a super-packet at all, whatever came before it.
  let isMergeable: Bool
  let flow: FlowKey

  /// Bytes behind the headers.
  var payloadLength: Int { length - headerLength }
  var sequence: UInt32 { unsafe UnsafeRawPointer(base).word(transport + TCPHeader.sequence) }
  var identification: UInt16 { unsafe UnsafeRawPointer(base).half(IPv4Header.identification) }
  var flags: UInt8 { unsafe UnsafeRawPointer(base).byte(transport + TCPHeader.flags) }

  init(_ packet: UnsafeMutableRawBufferPointer) {
    unsafe base = packet.baseAddress!
    length = packet.count
    let base = unsafe UnsafeRawPointer(base)
    guard let inner = unsafe InnerPacket(UnsafeRawBufferPointer(packet)) else {
      (kind, isIPv6, transport, headerLength, isMergeable) = (.opaque, false, 0, length, false)
      flow = FlowKey(addresses: 0, ports: FlowKey.anyPorts)
      return
    }
    isIPv6 = inner.isIPv6
    let isPlain =
      unsafe inner.length == length
      && (inner.isIPv6
        || (base.byte(0) == 0x45 && base.half(IPv4Header.fragment) & IPv4Header.moreFragmentsAndOffset == 0))
    let number = unsafe base.byte(inner.isIPv6 ? IPv6Header.nextHeader : IPv4Header.nextProtocol)
    transport = inner.isIPv6 ? IPv6Header.length : IPv4Header.length
    let isTCP = isPlain && number == IPProtocol.tcp && length >= transport + TCPHeader.length
    let isUDP = isPlain && number == IPProtocol.udp && length >= transport + UDPHeader.length
    let addresses = FlowKey.mixed(inner.source, inner.destination)
    guard isTCP || isUDP else {
      (kind, headerLength, isMergeable) = (.opaque, length, false)
      flow = FlowKey(addresses: addresses, ports: FlowKey.anyPorts)
      return
    }
    flow = unsafe FlowKey(addresses: addresses, ports: UInt64(base.word(transport)) << 8 | UInt64(number))
    if isTCP {
      kind = .tcp
      let end = unsafe transport + Int(base.byte(transport + TCPHeader.dataOffset) >> 4) * 4
      let flags = unsafe base.byte(transport + TCPHeader.flags)
      let alone = TCPFlags.fin | TCPFlags.syn | TCPFlags.rst | TCPFlags.urg
      isMergeable =
        end >= transport + TCPHeader.length && end < length && flags & (alone | TCPFlags.ack) == TCPFlags.ack
      headerLength = min(end, length)
    } else {
      kind = .udp
      headerLength = transport + UDPHeader.length
      isMergeable =
        unsafe headerLength < length
        && Int(base.half(transport + UDPHeader.datagramLength)) == length - transport
        && base.half(transport + UDPHeader.checksum) != 0
    }
  }

  /// Whether its checksums are what a sender computes. All ones for zero would do as well, but come out of a split
  /// differently than they went in. Precondition: `isMergeable`.
  var isIntact: Bool {
    let packet = unsafe UnsafeRawPointer(base)
    if !isIPv6 {
      var header = InternetChecksum()
      unsafe header.add(UnsafeRawBufferPointer(start: packet, count: IPv4Header.length))
      guard header.value == 0, unsafe packet.half(IPv4Header.checksum) != 0xFFFF else { return false }
    }
    let isTCP = kind == .tcp
    var checksum = InternetChecksum()
    unsafe checksum.addPseudoHeader(of: packet, isIPv6: isIPv6, protocol: isTCP ? IPProtocol.tcp : IPProtocol.udp)
    checksum.add(UInt32(length - transport))
    unsafe checksum.add(UnsafeRawBufferPointer(start: packet + transport, count: length - transport))
    guard checksum.value == 0 else { return false }
    return unsafe !isTCP || packet.half(transport + TCPHeader.checksum) != 0xFFFF
  }

  /// Whether both have all in common that segments of one super-packet have: addresses, traffic class, hop limit, DF, flow
  /// label; acknowledgement, window, flags but for PSH and CWR, options. Precondition: the same `flow`, and so ports.
  func hasHeaders(of first: MergeablePacket) -> Bool {
    guard isIPv6 == first.isIPv6, kind == first.kind, headerLength == first.headerLength else { return false }
    let one = unsafe UnsafeRawPointer(base), other = unsafe UnsafeRawPointer(first.base)
    let sameNetwork =
      unsafe isIPv6
      ? one.matches(other, from: 0, count: IPv6Header.payloadLength)
        && one.matches(other, from: IPv6Header.nextHeader, count: IPv6Header.length - IPv6Header.nextHeader)
      : one.matches(other, from: 0, count: IPv4Header.totalLength)
        && one.matches(other, from: IPv4Header.fragment, count: IPv4Header.checksum - IPv4Header.fragment)
        && one.matches(other, from: IPv4Header.addresses, count: IPv4Header.length - IPv4Header.addresses)
    guard sameNetwork else { return false }
    guard kind == .tcp else { return true }
    let loose = TCPFlags.psh | TCPFlags.cwr
    return unsafe (flags ^ first.flags) & ~loose == 0
      && one.matches(
        other, from: transport + TCPHeader.acknowledgement, count: TCPHeader.flags - TCPHeader.acknowledgement)
      && one.matches(other, from: transport + TCPHeader.window, count: 2)
      && one.matches(
        other, from: transport + TCPHeader.urgentPointer, count: headerLength - transport - TCPHeader.urgentPointer)
  }
}

/// Which packets must not overtake one another, in two words that are quick to compare. Flows between different hosts may
/// share a key: they are then merged less, and not into each other, for the addresses themselves are compared as well.
struct FlowKey {
  /// Of packets that have none: they keep their place among all packets between the two addresses.
  static let anyPorts = UInt64.max

  /// Both addresses, mixed.
  let addresses: UInt64
  /// Both ports and the protocol, as they are.
  let ports: UInt64

  static func mixed(_ source: AddressBits, _ destination: AddressBits) -> UInt64 {
    var sum = source.high
    func mix(_ word: UInt64) { sum = (sum << 23 | sum >> 41) &* 0x9E37_79B9_7F4A_7C15 ^ word }
    mix(source.low)
    mix(destination.high)
    mix(destination.low)
    return sum
  }
}
