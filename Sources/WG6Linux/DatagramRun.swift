import CLinux
import WG6Protocol

/// Datagrams to one path, back to back, that go out as one message where they can (UDP_SEGMENT).
@safe public struct DatagramRun {
  // SAFETY: laid out as `linux_run`. Whoever makes one sees to it that the bytes stay there.
  public private(set) var base: UnsafeMutableRawPointer
  private var length: UInt32
  private var size: UInt32

  /// Datagrams that one run may have (UDP_MAX_SEGMENTS of kernels before 6.10).
  public static let longestCount = 64

  /// Bytes that one run may have: what a UDP packet can carry. The kernel itself cuts a run that is longer than 65,535 bytes
  /// with all headers, the link's too, before it comes to the network card: some 40 bytes less are better.
  public static func longest(isIPv6: Bool) -> Int { isIPv6 ? 65527 : 65507 }

  /// - Parameters:
  ///   - byteCount: all of it: 1 to `longest(isIPv6:)`.
  ///   - segmentSize: bytes of each datagram but the last, which may be shorter; at most `longestCount` of them. With
  ///     `byteCount` or more, it is one datagram.
  public init(base: UnsafeMutableRawPointer, byteCount: Int, segmentSize: Int) {
    precondition(segmentSize > 0 && byteCount > 0 && byteCount <= DatagramRun.longest(isIPv6: true))
    precondition(byteCount <= DatagramRun.longestCount * segmentSize)
    unsafe self.base = base
    length = UInt32(byteCount)
    size = UInt32(min(segmentSize, byteCount))
  }

  public var byteCount: Int { Int(length) }
  public var segmentSize: Int { Int(size) }

  /// Whether it is more than one datagram.
  public var isCut: Bool { length > size }

  /// Datagrams.
  public var count: Int { isCut ? (byteCount + segmentSize - 1) / segmentSize : 1 }

  /// Takes the first `count` datagrams off; returns how many bytes they had. Nothing may be left.
  mutating func removeFirst(_ count: Int) -> Int {
    let bytes = min(count * segmentSize, byteCount)
    unsafe base += bytes
    length -= UInt32(bytes)
    return bytes
  }
}

/// Why the network took no run of datagrams as one message, though it may take them one by one.
enum SegmentationRefusal: Equatable {
  /// They are longer than what fits into a packet to that destination, so that each needs to be fragmented. `udp_send_skb`
  /// says EINVAL; from 6.14 on, and where that was taken over, EMSGSIZE.
  case size
  /// The network card can't compute checksums (before 6.11), or an IPsec policy applies: EIO.
  case device

  /// - Parameter result: a negative errno of a send.
  init?(_ result: Int32) {
    switch -result {
    case EINVAL, EMSGSIZE: self = .size
    case EIO: self = .device
    default: return nil
    }
  }
}
