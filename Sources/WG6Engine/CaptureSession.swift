import Glibc
import SystemPackage
import WG6Linux
import WG6Protocol

/// A capture for a client of the control socket: it runs for as long as this object lives.
///
/// The data threads write packets to memory that the client reads; the control thread has no part in it. A client that
/// reads slowly misses packets, which are counted, and one that has gone ends its capture.
final class CaptureSession {
  let memory: SharedMemory
  private let device: Device
  private let reference: CaptureReference

  /// Throws `resourceBusy` where there are as many captures as may be.
  init(of device: Device, _ filter: CaptureFilter) throws(Errno) {
    let memory = try SharedMemory(byteCount: CaptureRing.byteCount)
    guard
      let reference = unsafe device.startCapture(
        into: memory.bytes, of: memory, filter, clock: { Clock.monotonic })
    else { throw .resourceBusy }
    self.memory = memory
    self.device = device
    self.reference = reference
  }

  deinit {
    device.end(reference)
  }
}
