import CHarness
import Foundation

extension Host {
  /// A fresh socket of this process that lives on this host, close-on-exec. The caller closes it.
  func socket(family: Int32, type: __socket_type, transport: Int32 = 0) throws -> Int32 {
    try socket { Glibc.socket(family, Int32(type.rawValue) | Int32(SOCK_CLOEXEC.rawValue), transport) }
  }

  /// The socket that `make` makes, on this host. The caller closes it.
  ///
  /// A socket belongs to the namespace of the thread that makes it, for good. So a thread goes there, makes it and ends.
  func socket(_ make: @escaping @Sendable () -> Int32) throws -> Int32 {
    let box = Box()
    let done = DispatchSemaphore(value: 0)
    let namespace = namespace
    let thread = Thread {
      if Host.enter(namespace) { box.descriptor = make() }
      box.code = errno
      done.signal()
    }
    thread.start()
    done.wait()
    guard box.descriptor >= 0 else {
      errno = box.code
      throw SystemFailure("make a socket on \(name)")
    }
    return box.descriptor
  }

  /// Moves the calling thread, which does nothing else any more, into a host's namespace. Returns whether that worked, and
  /// says in `errno` why not.
  static func enter(_ namespace: String) -> Bool {
    let descriptor = open("/run/netns/\(namespace)", O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return false }
    let result = harness_enter_network_namespace(descriptor)
    let code = errno
    close(descriptor)
    errno = code
    return result == 0
  }
}

/// Carries the result over; the semaphore orders the accesses.
private final class Box: @unchecked Sendable {
  var descriptor: Int32 = -1
  var code: Int32 = 0
}
