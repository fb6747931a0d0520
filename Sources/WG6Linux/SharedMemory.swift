import CLinux
import Glibc
import SystemPackage

/// Memory that another process can map as well, by its descriptor. Its size is fixed, so that neither can take it from
/// under the other.
@safe public final class SharedMemory: @unchecked Sendable {
  // SAFETY: mapped for as long as this object lives. Who reads and writes there is the users' affair.
  public let bytes: UnsafeMutableRawBufferPointer
  public let descriptor: OwnedDescriptor

  /// Makes `byteCount` zeroed bytes, all of which the kernel sets aside at once.
  public init(byteCount: Int) throws(Errno) {
    descriptor = try OwnedDescriptor(orErrno: linux_shared_memory(byteCount))
    unsafe bytes = try SharedMemory.map(descriptor.rawValue, byteCount)
  }

  /// Maps what another process made. Throws `invalidArgument` where its size could change, or is another.
  public init(takingOver descriptor: consuming OwnedDescriptor, byteCount: Int) throws(Errno) {
    var status = stat()
    guard unsafe fstat(descriptor.rawValue, &status) == 0, Int(status.st_size) == byteCount,
      linux_has_fixed_size(descriptor.rawValue) != 0
    else { throw .invalidArgument }
    unsafe bytes = try SharedMemory.map(descriptor.rawValue, byteCount)
    self.descriptor = descriptor
  }

  deinit {
    unsafe munmap(bytes.baseAddress, bytes.count)
  }

  private static func map(_ descriptor: Int32, _ byteCount: Int) throws(Errno) -> UnsafeMutableRawBufferPointer {
    let pages = unsafe mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0)
    guard let pages = unsafe pages, unsafe pages != MAP_FAILED else { throw Errno(rawValue: errno) }
    return unsafe UnsafeMutableRawBufferPointer(start: pages, count: byteCount)
  }
}
