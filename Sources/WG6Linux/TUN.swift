import CLinux
import Glibc
import SystemPackage
import WG6Protocol

/// A TUN interface: a descriptor that IPv4 and IPv6 packets are read from and written to, one a call; with
/// `hasVirtioHeader` behind a `VirtioHeader`, and then any of them may be a super-packet.
///
/// The interface lives as long as the descriptor, unless it was made persistent elsewhere.
public struct TUN: ~Copyable, Sendable {
  public let descriptor: OwnedDescriptor
  /// What of the wanted came out: `.tun` where a virtio header stands before every packet, `.tso` and `.uso` where the kernel
  /// hands out super-packets and takes them.
  public let offloads: Offloads

  /// The longest that can be read: a virtio header, an IPv6 header, and what that can tell the length of.
  public static let longestRead = VirtioHeader.length + 40 + 65535

  /// Makes the interface `name`, or attaches to it where it exists and nobody else has. `%d` in the name becomes a number.
  ///
  /// - Parameter wanted: offloads to use as far as this kernel has them.
  public init(named name: String, offloads wanted: Offloads = []) throws(Errno) {
    var offloads: Offloads?
    var raw: Int32 = -1
    if wanted.contains(.tun) {
      raw = unsafe linux_tun_open(name, 1)
      if raw >= 0 {
        offloads = TUN.handOut(wanted, by: raw)
        if offloads == nil { close(raw) }
      }
    }
    // What is wrong with the name, say, is wrong without the header as well.
    if offloads == nil { raw = unsafe linux_tun_open(name, 0) }
    descriptor = try OwnedDescriptor(orErrno: raw)
    self.offloads = offloads ?? []
  }

  /// Takes over a descriptor that someone else opened, and leaves it with the virtio header or without it as it is.
  ///
  /// Throws `protocolNotSupported` where something else stands before its packets; packet information (no IFF_NO_PI) can't
  /// be seen.
  public init(takingOver raw: Int32, offloads wanted: Offloads = []) throws(Errno) {
    descriptor = OwnedDescriptor(raw)
    let hasHeader = linux_tun_has_header(raw)
    offloads = hasHeader == 1 ? TUN.handOut(wanted, by: raw) ?? .tun : []
    guard hasHeader >= 0 else { throw Errno(rawValue: -hasHeader) }
    guard fcntl(raw, F_SETFL, fcntl(raw, F_GETFL) | O_NONBLOCK) == 0 else { throw Errno(rawValue: errno) }
    _ = fcntl(raw, F_SETFD, FD_CLOEXEC)
  }

  public var hasVirtioHeader: Bool { offloads.contains(.tun) }

  /// The interface's name of today. Throws `badFileDescriptor`'s kin EBADFD where it was deleted.
  public borrowing func name() throws(Errno) -> String {
    var bytes = InlineArray<16, CChar>(repeating: 0)
    var span = bytes.mutableSpan
    let result = unsafe span.withUnsafeMutableBufferPointer {
      unsafe linux_tun_name(descriptor.rawValue, $0.baseAddress!)
    }
    guard result == 0 else { throw Errno(rawValue: -result) }
    return String(decoding: bytes.indices.prefix { bytes[$0] != 0 }.map { UInt8(bitPattern: bytes[$0]) }, as: UTF8.self)
  }

  /// Tells the kernel, and programs that watch interfaces, whether there is somebody at the other end. Takes Linux 5.0.
  public borrowing func setCarrier(_ isThere: Bool) throws(Errno) {
    let result = linux_tun_set_carrier(descriptor.rawValue, isThere ? 1 : 0)
    guard result == 0 else { throw Errno(rawValue: -result) }
  }

  /// Opens the network namespace that the interface is currently in.
  public borrowing func namespace() throws(Errno) -> OwnedDescriptor {
    try OwnedDescriptor(orErrno: linux_tun_namespace(descriptor.rawValue))
  }

  /// The interface's index; 0 where it was deleted, or is in another network namespace, where this one may have another
  /// interface of its name.
  public var index: UInt32 {
    guard let name = try? name(), !isElsewhere else { return 0 }
    return unsafe if_nametoindex(name)
  }

  /// Whether the interface is known to be in another network namespace than this process.
  private var isElsewhere: Bool {
    // Without CAP_NET_ADMIN the kernel does not say.
    guard let own = NamespaceNumber.own, let namespace = try? namespace() else { return false }
    return (try? NamespaceNumber.of(namespace)) != own
  }

  /// Reads one packet, with its virtio header where there is one. Returns how many bytes that is, or a negative errno:
  /// -EAGAIN where none waits.
  ///
  /// - Parameter buffer: `longestRead` bytes; the kernel cuts off what does not fit, and says nothing.
  public borrowing func read(into buffer: UnsafeMutableRawBufferPointer) -> Int {
    let count = unsafe Glibc.read(descriptor.rawValue, buffer.baseAddress!, buffer.count)
    return count >= 0 ? count : -Int(errno)
  }

  /// Writes one packet, without a virtio header before it. Returns 0 or a negative errno; see `isRefusal`.
  public borrowing func write(_ packet: UnsafeRawBufferPointer) -> Int32 {
    unsafe linux_tun_write(descriptor.rawValue, hasVirtioHeader ? 1 : 0, packet.baseAddress!, packet.count)
  }

  /// Writes one packet, of pieces that a virtio header begins. Returns 0 or a negative errno; see `isRefusal`.
  ///
  /// Without `hasVirtioHeader` the header is left out, and -EINVAL the answer to more than one piece.
  ///
  /// - Parameter pieces: at most 1,024, the header whole in the first.
  public borrowing func write(_ pieces: UnsafeBufferPointer<MergeBatch.Piece>) -> Int32 {
    // SAFETY: a piece is laid out as an `iovec`.
    let vectors = unsafe UnsafeRawPointer(pieces.baseAddress!).assumingMemoryBound(to: iovec.self)
    return unsafe linux_tun_write_pieces(
      descriptor.rawValue, hasVirtioHeader ? 1 : 0, vectors, Int32(pieces.count))
  }

  /// Whether a failed write says that this kernel does not take such packets (EINVAL), so that the packets in it are to be
  /// written one by one; every other failure, -EIO while the interface is down above all, has cost the packets and means
  /// no more.
  ///
  /// What a kernel takes (`virtio_net_hdr_to_skb`): segmentation of the packet's own protocol and family, a segment size
  /// other than 0 and 65,535, headers that are whole; for UDP (from 6.2 on) the checksum to be completed, no ECN, and at
  /// most 64 segments. `csum_start` and `csum_offset` have to be those of TCP or UDP (6.10). With a payload of one segment
  /// or less it is an ordinary packet. For some weeks of 2024, 6.11's candidates and what the stable series had taken over
  /// from them (6.10.3, 6.6.44 and others) refused a last segment shorter than the others as well.
  public static func isRefusal(_ result: Int32) -> Bool { result == -EINVAL }

  /// Has the kernel hand out packets as they are wanted; `nil` where it does not even leave checksums open.
  private static func handOut(_ wanted: Offloads, by raw: Int32) -> Offloads? {
    guard wanted.contains(.tun) else { return linux_tun_set_offloads(raw, 0) == 0 ? .tun : nil }
    let checksum = UInt32(LINUX_TUN_CHECKSUM)
    let tcp = wanted.contains(.tso) ? UInt32(LINUX_TUN_TSO) : 0
    let ecn = wanted.contains(.tso) ? UInt32(LINUX_TUN_TSO_ECN) : 0
    let udp = wanted.contains(.uso) ? UInt32(LINUX_TUN_USO) : 0
    let all = wanted.intersection([.tun, .tso, .uso])
    // A kernel that doesn't know one of them says so (EINVAL), and changes nothing.
    let attempts = [
      (checksum | tcp | ecn | udp, all), (checksum | tcp | ecn, all.subtracting(.uso)),
      (checksum | tcp, all.subtracting(.uso)), (checksum, .tun),
    ]
    return attempts.first { linux_tun_set_offloads(raw, $0.0) == 0 }?.1
  }
}
