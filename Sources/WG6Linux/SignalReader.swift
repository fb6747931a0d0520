import CLinux
import Glibc
import SystemPackage

/// Signals as something to read rather than something that interrupts. Blocks them for this thread and those it starts.
public struct SignalReader: ~Copyable, Sendable {
  public let descriptor: OwnedDescriptor

  public init(_ signals: [Int32]) throws(Errno) {
    var set = sigset_t()
    unsafe sigemptyset(&set)
    for signal in signals { unsafe sigaddset(&set, signal) }
    unsafe pthread_sigmask(SIG_BLOCK, &set, nil)
    let raw = unsafe signalfd(-1, &set, Int32(SFD_NONBLOCK | SFD_CLOEXEC))
    guard raw >= 0 else { throw Errno(rawValue: errno) }
    descriptor = OwnedDescriptor(raw)
  }

  /// The next signal that came; `nil` where none did.
  public borrowing func next() -> Int32? {
    var info = signalfd_siginfo()
    let size = MemoryLayout<signalfd_siginfo>.size
    return unsafe read(descriptor.rawValue, &info, size) == size ? Int32(info.ssi_signo) : nil
  }
}
