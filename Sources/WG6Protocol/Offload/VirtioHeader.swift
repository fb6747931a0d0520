/// Why a packet and its virtio header do not go together; such a packet is dropped.
public enum OffloadError: Error, CaseIterable, Sendable {
  /// Fewer bytes than a virtio header has.
  case truncatedHeader
  /// A `gso_type` that is none of ours, or that lacks the size of its segments.
  case unknownSegmentation
  /// Not an IP packet, not as long as it says, or cut within its headers.
  case malformedPacket
  /// Not of the protocol that the segmentation is for, a fragment, or one that has to be alone (SYN, RST).
  case notSegmentable
  /// `csum_start` and `csum_offset` do not lead to where that packet can have a checksum.
  case misplacedChecksum
}

/// What stands before a packet on a TUN device with `IFF_VNET_HDR`: `struct virtio_net_hdr` (Virtio 1.2 §5.1.6), ten
/// bytes in the machine's own order.
///
/// It tells what is still to be done with the packet: to complete a checksum, to cut it into segments. `hdr_len` is not
/// kept, for it is no more than a hint, and wrong on forwarded packets: there Linux has it say how long the first of the
/// buffers was.
public struct VirtioHeader: Equatable, Sendable {
  /// Bytes.
  public static let length = 10

  /// `gso_type` without the bit for ECN.
  public enum Segmentation: UInt8, CaseIterable, Sendable {
    case none = 0
    case tcpv4 = 1
    case tcpv6 = 4
    /// UDP_L4, over IPv4 or IPv6: datagrams, not fragments.
    case udp = 5
  }

  private enum Flag {
    static let needsChecksum: UInt8 = 1
    static let congestionReduced: UInt8 = 0x80
  }

  public var segmentation: Segmentation
  /// Whether TCP's CWR, which only the first segment keeps, may be set (VIRTIO_NET_HDR_GSO_ECN).
  public var hasECN: Bool
  /// `gso_size`: bytes of payload in each segment but the last.
  public var segmentSize: UInt16
  /// Whether the checksum at `checksumStart + checksumOffset` holds the pseudo-header's sum only, and is to be completed
  /// over all from `checksumStart` on.
  public var needsChecksum: Bool
  /// `csum_start`, bytes from the packet's beginning.
  public var checksumStart: UInt16
  /// `csum_offset`, bytes from `checksumStart`.
  public var checksumOffset: UInt16
  /// `hdr_len`, for writing only: Linux wants the headers there, or 0.
  private var headerLength: UInt16 = 0

  /// Nothing left to do.
  public init() {
    segmentation = .none
    hasECN = false
    segmentSize = 0
    needsChecksum = false
    checksumStart = 0
    checksumOffset = 0
  }

  /// Segments of `segmentSize` bytes each behind `headerLength` bytes of headers, and a checksum to be completed.
  init(
    _ segmentation: Segmentation, hasECN: Bool, segmentSize: Int, headerLength: Int, checksumStart: Int,
    checksumOffset: Int
  ) {
    self.segmentation = segmentation
    self.hasECN = hasECN
    self.segmentSize = UInt16(segmentSize)
    self.needsChecksum = true
    self.checksumStart = UInt16(checksumStart)
    self.checksumOffset = UInt16(checksumOffset)
    self.headerLength = UInt16(headerLength)
  }

  /// The header that `bytes` begin with. Flags other than `NEEDS_CSUM` are ignored (Virtio 1.2 §5.1.6.4.1).
  public init(_ bytes: UnsafeRawBufferPointer) throws(OffloadError) {
    guard bytes.count >= VirtioHeader.length, let base = bytes.baseAddress else { throw .truncatedHeader }
    let type = unsafe base.byte(1)
    guard let segmentation = Segmentation(rawValue: type & ~Flag.congestionReduced) else { throw .unknownSegmentation }
    self.segmentation = segmentation
    hasECN = type & Flag.congestionReduced != 0
    needsChecksum = unsafe base.byte(0) & Flag.needsChecksum != 0
    segmentSize = unsafe base.loadUnaligned(fromByteOffset: 4, as: UInt16.self)
    checksumStart = unsafe base.loadUnaligned(fromByteOffset: 6, as: UInt16.self)
    checksumOffset = unsafe base.loadUnaligned(fromByteOffset: 8, as: UInt16.self)
    switch segmentation {
    case .none: guard !hasECN else { throw .unknownSegmentation }
    case .tcpv4, .tcpv6: guard segmentSize > 0 else { throw .unknownSegmentation }
    case .udp: guard segmentSize > 0, !hasECN else { throw .unknownSegmentation }
    }
  }

  /// Writes the header's ten bytes to `destination`.
  public func write(to destination: UnsafeMutableRawPointer) {
    let type = segmentation.rawValue | (hasECN ? Flag.congestionReduced : 0)
    unsafe destination.put(needsChecksum ? Flag.needsChecksum : 0, at: 0)
    unsafe destination.put(type, at: 1)
    unsafe destination.storeBytes(of: headerLength, toByteOffset: 2, as: UInt16.self)
    unsafe destination.storeBytes(of: segmentSize, toByteOffset: 4, as: UInt16.self)
    unsafe destination.storeBytes(of: checksumStart, toByteOffset: 6, as: UInt16.self)
    unsafe destination.storeBytes(of: checksumOffset, toByteOffset: 8, as: UInt16.self)
  }
}
