/// A packet that the device handed over unfinished, and the segments that become of it: one where only its checksum is
/// missing, or nothing.
///
/// The number of segments is known before the first of them is made, so that their counters can be reserved at once.
/// Each is then written to where it will be sealed; or, without copying its payload, made where it lies.
@safe public struct Segmentation {
  private enum Work {
    /// Nothing: the packet as it is.
    case none
    /// The checksum alone.
    case checksum(start: Int, offset: Int)
    case tcp
    case udp
  }

  // SAFETY: `length` bytes, the caller's; headers of `headerLength` bytes were found in them.
  private let packet: UnsafeMutableRawPointer
  private let length: Int
  private let work: Work
  private let isIPv6: Bool
  /// Where the TCP or UDP header begins.
  private let transport: Int
  /// All headers, those that each segment gets.
  private let headerLength: Int
  /// Payload of each segment but the last.
  private let segmentSize: Int
  /// What is bumped in each segment: kept apart, as the headers of the first are overwritten when it is made in place.
  private var identification: UInt16 = 0
  private var sequence: UInt32 = 0
  private var flags: UInt8 = 0
  /// What all segments have in common of the sums of the IPv4 header and of the pseudo-header.
  private var headerSum = InternetChecksum()
  private var pseudoHeaderSum = InternetChecksum()

  /// Segments, at least one.
  public let count: Int

  /// The way to finish `packet`, as `header` says.
  ///
  /// Nothing is taken on trust: where headers end is read from the packet itself, and has to agree with `header`.
  /// A packet that lacks nothing is not looked into.
  ///
  /// - Parameter packet: without the virtio header; has to stay where it is as long as segments are made of it.
  public init(_ header: VirtioHeader, packet: UnsafeMutableRawBufferPointer) throws(OffloadError) {
    guard packet.count > 0, let base = packet.baseAddress else { throw .malformedPacket }
    unsafe self.packet = base
    length = packet.count
    guard header.segmentation != .none || header.needsChecksum else {
      (work, isIPv6, transport, headerLength, segmentSize, count) = (.none, false, 0, 0, 0, 1)
      return
    }
    guard let inner = unsafe InnerPacket(UnsafeRawBufferPointer(packet)), inner.length == packet.count else {
      throw .malformedPacket
    }
    isIPv6 = inner.isIPv6
    guard header.segmentation != .none else {
      let networkLength = unsafe isIPv6 ? IPv6Header.length : Int(UnsafeRawPointer(base).byte(0) & 0x0F) * 4
      let start = Int(header.checksumStart), offset = Int(header.checksumOffset)
      // At an odd offset the field would not be a word of its own sum.
      guard networkLength >= IPv4Header.length, start >= networkLength, offset % 2 == 0, start + offset + 2 <= length
      else { throw .misplacedChecksum }
      (work, transport, headerLength, segmentSize, count) = (.checksum(start: start, offset: offset), 0, 0, 0, 1)
      return
    }

    let isTCP = header.segmentation != .udp
    guard isIPv6 ? header.segmentation != .tcpv4 : header.segmentation != .tcpv6 else { throw .notSegmentable }
    let number = isTCP ? IPProtocol.tcp : IPProtocol.udp
    transport = try unsafe Segmentation.transport(of: UnsafeRawBufferPointer(packet), number, isIPv6: isIPv6)
    headerLength = try unsafe Segmentation.headerLength(of: UnsafeRawBufferPointer(packet), transport, isTCP: isTCP)
    let checksumOffset = isTCP ? TCPHeader.checksum : UDPHeader.checksum
    guard
      !header.needsChecksum
        || (Int(header.checksumStart) == transport && Int(header.checksumOffset) == checksumOffset)
    else { throw .misplacedChecksum }
    work = isTCP ? .tcp : .udp
    segmentSize = Int(header.segmentSize)
    count = max(1, (length - headerLength + segmentSize - 1) / segmentSize)
    try readCommon(number)
  }

  /// Bytes of the segment at `index`. Precondition: `index` is below `count`.
  public func length(of index: Int) -> Int {
    precondition(index >= 0 && index < count)
    guard segmentSize > 0 else { return length }
    return headerLength + min(segmentSize, length - headerLength - index * segmentSize)
  }

  /// Writes the segment at `index`, `length(of: index)` bytes, to `destination`, which is not within the packet. In any
  /// order, and as often as need be.
  public func write(_ index: Int, to destination: UnsafeMutableRawPointer) {
    let count = length(of: index)
    guard segmentSize > 0 else {
      unsafe destination.copyMemory(from: packet, byteCount: length)
      if case .checksum(let start, let offset) = work { unsafe complete(destination, start, offset) }
      return
    }
    unsafe destination.copyMemory(from: packet, byteCount: headerLength)
    unsafe (destination + headerLength).copyMemory(
      from: packet + headerLength + index * segmentSize, byteCount: count - headerLength)
    unsafe finish(index, count, at: destination)
  }

  /// Whether `make` can be had: headers of a segment fit into the payload of the one before.
  public var canBeMadeInPlace: Bool { count == 1 || segmentSize >= headerLength }

  /// Makes the segment at `index` where its payload lies, its headers over the end of the one before, which has been
  /// used up by then. Precondition: `canBeMadeInPlace`; each segment once, in order.
  ///
  /// - Returns: `length(of: index)` bytes, within the packet.
  public func make(_ index: Int) -> UnsafeMutableRawBufferPointer {
    precondition(canBeMadeInPlace)
    let count = length(of: index)
    let segment = unsafe packet + index * segmentSize
    if segmentSize > 0 {
      if index > 0 { unsafe segment.copyMemory(from: packet, byteCount: headerLength) }
      unsafe finish(index, count, at: segment)
    } else if case .checksum(let start, let offset) = work {
      unsafe complete(packet, start, offset)
    }
    return unsafe UnsafeMutableRawBufferPointer(start: segment, count: count)
  }

  // MARK: Finishing

  /// Replaces the pseudo-header's sum in a packet that stays whole by the checksum.
  private func complete(_ packet: UnsafeMutableRawPointer, _ start: Int, _ offset: Int) {
    var checksum = InternetChecksum()
    unsafe checksum.add(UnsafeRawBufferPointer(start: packet + start, count: length - start))
    // Of those that have it there only UDP knows "no checksum".
    let isUDP = offset == UDPHeader.checksum
    unsafe packet.put(isUDP ? checksum.valueForUDP : checksum.value, at: start + offset)
  }

  /// Makes the copy of the headers before the segment at `index`, which lies at `segment`, its own.
  private func finish(_ index: Int, _ count: Int, at segment: UnsafeMutableRawPointer) {
    if isIPv6 {
      unsafe segment.put(UInt16(count - IPv6Header.length), at: IPv6Header.payloadLength)
    } else {
      let number = identification &+ UInt16(truncatingIfNeeded: index)
      var checksum = headerSum
      checksum.add(UInt32(count))
      checksum.add(UInt32(number))
      unsafe segment.put(UInt16(count), at: IPv4Header.totalLength)
      unsafe segment.put(number, at: IPv4Header.identification)
      unsafe segment.put(checksum.value, at: IPv4Header.checksum)
    }
    let header = unsafe segment + transport
    let datagram = unsafe UnsafeRawBufferPointer(start: header, count: count - transport)
    var checksum = pseudoHeaderSum
    checksum.add(UInt32(datagram.count))
    if case .udp = work {
      unsafe header.put(UInt16(datagram.count), at: UDPHeader.datagramLength)
      unsafe header.put(0 as UInt16, at: UDPHeader.checksum)
      unsafe checksum.add(datagram)
      unsafe header.put(checksum.valueForUDP, at: UDPHeader.checksum)
      return
    }
    var flags = flags
    // RFC 9293 §3.9.1.2: what ends or pushes the data comes with the last of it; RFC 3168 §6.1.2: CWR once.
    if index < self.count - 1 { flags &= ~(TCPFlags.fin | TCPFlags.psh) }
    if index > 0 { flags &= ~TCPFlags.cwr }
    unsafe header.put(sequence &+ UInt32(truncatingIfNeeded: index * segmentSize), at: TCPHeader.sequence)
    unsafe header.put(flags, at: TCPHeader.flags)
    unsafe header.put(0 as UInt16, at: TCPHeader.checksum)
    unsafe checksum.add(datagram)
    unsafe header.put(checksum.value, at: TCPHeader.checksum)
  }
}

// MARK: Reading the headers

extension Segmentation {
  /// Where the header of protocol `number` begins in an IP packet that is whole.
  private static func transport(
    of packet: UnsafeRawBufferPointer, _ number: UInt8, isIPv6: Bool
  ) throws(OffloadError) -> Int {
    let base = packet.baseAddress!
    guard isIPv6 else {
      let length = unsafe Int(base.byte(0) & 0x0F) * 4
      guard length >= IPv4Header.length, length <= packet.count else { throw .malformedPacket }
      guard unsafe base.byte(IPv4Header.nextProtocol) == number,
        unsafe base.half(IPv4Header.fragment) & IPv4Header.moreFragmentsAndOffset == 0
      else { throw .notSegmentable }
      return length
    }
    var next = unsafe base.byte(IPv6Header.nextHeader)
    var offset = IPv6Header.length
    // Each header that may stand before it (RFC 8200 §4.1), destination options twice.
    for _ in 0..<5 {
      if next == number { return offset }
      guard next == IPProtocol.hopByHop || next == IPProtocol.routing || next == IPProtocol.destinationOptions else {
        throw .notSegmentable
      }
      guard offset + 8 <= packet.count else { throw .malformedPacket }
      next = unsafe base.byte(offset)
      offset += unsafe Int(base.byte(offset + 1)) * 8 + 8
    }
    throw .notSegmentable
  }

  /// Where the payload begins.
  private static func headerLength(
    of packet: UnsafeRawBufferPointer, _ transport: Int, isTCP: Bool
  ) throws(OffloadError) -> Int {
    guard transport + (isTCP ? TCPHeader.length : UDPHeader.length) <= packet.count else { throw .malformedPacket }
    guard isTCP else { return transport + UDPHeader.length }
    let length = unsafe Int(packet.baseAddress!.byte(transport + TCPHeader.dataOffset) >> 4) * 4
    guard length >= TCPHeader.length, transport + length <= packet.count else { throw .malformedPacket }
    return transport + length
  }

  /// Reads what segments have in common.
  private mutating func readCommon(_ number: UInt8) throws(OffloadError) {
    let base = unsafe UnsafeRawPointer(packet)
    if number == IPProtocol.tcp {
      sequence = unsafe base.word(transport + TCPHeader.sequence)
      flags = unsafe base.byte(transport + TCPHeader.flags)
      // They take up a sequence number, or end all: repeated in each segment they would mean something else.
      guard count == 1 || flags & (TCPFlags.syn | TCPFlags.rst) == 0 else { throw .notSegmentable }
    }
    unsafe pseudoHeaderSum.addPseudoHeader(of: base, isIPv6: isIPv6, protocol: number)
    guard !isIPv6 else { return }
    identification = unsafe base.half(IPv4Header.identification)
    unsafe headerSum.add(UnsafeRawBufferPointer(start: base, count: IPv4Header.totalLength))
    unsafe headerSum.add(
      UnsafeRawBufferPointer(start: base + IPv4Header.fragment, count: IPv4Header.checksum - IPv4Header.fragment))
    unsafe headerSum.add(
      UnsafeRawBufferPointer(start: base + IPv4Header.addresses, count: transport - IPv4Header.addresses))
  }
}
