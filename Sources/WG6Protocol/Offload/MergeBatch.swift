/// Packets that came out of the tunnel together, and what is written to the device of them: consecutive segments of a
/// flow as one super-packet, all else as it is. Belongs to one thread.
///
/// Packets of a flow stay in order: each goes behind the flow's latest group or begins a new one, and groups are written
/// in the order in which they were begun. Packets without ports (fragments, ICMP) keep their place among all packets
/// between their addresses. No payload is copied, and nothing is allocated after `init`.
@safe public struct MergeBatch: ~Copyable {
  /// Bytes to be written: laid out as the C library's `iovec`.
  @safe public struct Piece {
    public let base: UnsafeMutableRawPointer
    public let count: Int
  }

  /// A packet's payload and the packet behind it in its group.
  @safe private struct Link {
    let payload: Piece
    var next: Int32 = -1
  }

  /// Packets at most.
  public let capacity: Int
  public var rules: MergeRules

  /// Packets so far; at most `capacity`, after which it has to be written and emptied.
  public private(set) var count = 0
  /// Groups, each to be written at once.
  public private(set) var groupCount = 0

  // SAFETY: each has room for `capacity` elements, of which `groupCount` are initialized, or `count` in the case of
  // `links`; `pieces` are written before they are read. All are plain data. No index comes from a packet.
  private let groups: UnsafeMutablePointer<MergeGroup>
  private let flows: UnsafeMutablePointer<FlowKey>
  private let links: UnsafeMutablePointer<Link>
  private let pieces: UnsafeMutablePointer<Piece>

  /// - Parameter capacity: packets at most, 1 to 1,024, which is as many pieces as one `writev` takes.
  public init(capacity: Int = 64, rules: MergeRules = MergeRules()) {
    precondition((1...1024).contains(capacity))
    self.capacity = capacity
    self.rules = rules
    unsafe groups = .allocate(capacity: capacity)
    unsafe flows = .allocate(capacity: capacity)
    unsafe links = .allocate(capacity: capacity)
    unsafe pieces = .allocate(capacity: capacity)
  }

  deinit {
    unsafe groups.deallocate()
    unsafe flows.deallocate()
    unsafe links.deallocate()
    unsafe pieces.deallocate()
  }

  public var isFull: Bool { count == capacity }

  /// Takes the next packet; it has to stay where it is until the batch is emptied. Precondition: not `isFull`.
  ///
  /// - Parameter packet: an IP packet, without padding; the `VirtioHeader.length` bytes before it are written to, which
  ///   were the header of its datagram.
  public mutating func add(_ packet: UnsafeMutableRawBufferPointer) {
    precondition(count < capacity && packet.count > 0)
    let packet = unsafe MergeablePacket(packet)
    let link = Int32(count)
    let payload = unsafe Piece(base: packet.base + packet.headerLength, count: packet.payloadLength)
    unsafe (links + count).initialize(to: Link(payload: payload))
    count += 1
    if let index = latestGroup(of: packet.flow) {
      // By pointers: under the thread sanitizer, the 6.3 compiler does not survive subscripts here.
      let group = unsafe groups + index
      if unsafe group.pointee.append(packet, rules) {
        unsafe (links + Int(group.pointee.lastLink)).pointee.next = link
        unsafe group.pointee.lastLink = link
        return
      }
    }
    unsafe (groups + groupCount).initialize(to: MergeGroup(packet, link: link, rules))
    unsafe (flows + groupCount).initialize(to: packet.flow)
    groupCount += 1
  }

  /// What is to be written of the group at `index`: the first piece begins with the virtio header and has all headers.
  /// Valid until the next call.
  public func pieces(of index: Int) -> UnsafeBufferPointer<Piece> {
    precondition(index >= 0 && index < groupCount)
    let group = unsafe groups + index
    unsafe group.pointee.finish()
    let first = unsafe group.pointee.first
    unsafe pieces.initialize(
      to: Piece(base: first.base - VirtioHeader.length, count: VirtioHeader.length + first.length))
    var link = unsafe links[Int(group.pointee.firstLink)].next
    var count = 1
    while link >= 0, count < capacity {
      unsafe (pieces + count).initialize(to: links[Int(link)].payload)
      link = unsafe links[Int(link)].next
      count += 1
    }
    return unsafe UnsafeBufferPointer(start: pieces, count: count)
  }

  /// Packets in the group at `index`.
  func packetCount(of index: Int) -> Int {
    precondition(index >= 0 && index < groupCount)
    return unsafe groups[index].count
  }

  /// Writes the packets of the group at `index`, which the device has refused, one by one, and makes no more like it.
  ///
  /// Happens once or twice on a kernel that takes less than it said, and may allocate.
  ///
  /// - Returns: how many were not taken.
  mutating func splitRefused(_ index: Int, write: (UnsafeBufferPointer<Piece>) -> Delivery.Written) -> Int {
    let count = packetCount(of: index)
    let parts = unsafe pieces(of: index)
    guard count > 1 else { return 1 }
    unsafe groups[index].withdraw(from: &rules, lastPayload: parts[parts.count - 1].count)
    let whole = UnsafeMutableRawBufferPointer.allocate(
      byteCount: VirtioHeader.length + MergeRules.longest, alignment: 16)
    let segment = UnsafeMutableRawPointer.allocate(byteCount: VirtioHeader.length + MergeRules.longest, alignment: 16)
    defer {
      unsafe whole.deallocate()
      unsafe segment.deallocate()
    }
    var length = 0
    for number in parts.indices {
      let part = unsafe parts[number]
      unsafe (whole.baseAddress! + length).copyMemory(from: part.base, byteCount: part.count)
      length += part.count
    }
    let packet = unsafe UnsafeMutableRawBufferPointer(rebasing: whole[VirtioHeader.length..<length])
    guard let header = unsafe try? VirtioHeader(UnsafeRawBufferPointer(whole)),
      let segments = unsafe try? Segmentation(header, packet: packet)
    else { return count }
    var lost = 0
    for number in 0..<segments.count {
      unsafe VirtioHeader().write(to: segment)
      unsafe segments.write(number, to: segment + VirtioHeader.length)
      var piece = unsafe Piece(base: segment, count: VirtioHeader.length + segments.length(of: number))
      let written = unsafe withUnsafePointer(to: &piece) {
        unsafe write(UnsafeBufferPointer(start: $0, count: 1))
      }
      if written != .taken { lost += 1 }
    }
    return lost
  }

  /// Forgets all packets.
  public mutating func removeAll() {
    count = 0
    groupCount = 0
  }

  /// The latest group that packets of `flow` must not overtake, where they may be merged with it: as few compares as
  /// there are groups, and one where the flow is the one that came last.
  private func latestGroup(of flow: FlowKey) -> Int? {
    guard flow.ports != FlowKey.anyPorts else { return nil }
    var index = groupCount
    while index > 0 {
      index -= 1
      let other = unsafe flows[index]
      if other.addresses == flow.addresses {
        if other.ports == flow.ports { return index }
        if other.ports == FlowKey.anyPorts { return nil }
      }
    }
    return nil
  }
}
