import CLinux
import Glibc
import SystemPackage

/// A thread of our own (pthreads): no pool, no run loop, no executor.
@safe public struct Thread: ~Copyable, Sendable {
  private let handle: pthread_t

  /// Starts `body`, under a name of up to 15 bytes that tools like `top -H` show.
  public init(named name: String, _ body: @escaping @Sendable () -> Void) throws(Errno) {
    let box = unsafe Unmanaged.passRetained(Body(name: name, run: body))
    var started = pthread_t()
    let result = unsafe pthread_create(&started, nil, Thread.enter, box.toOpaque())
    guard result == 0 else {
      unsafe box.release()
      throw Errno(rawValue: result)
    }
    handle = started
  }

  /// Waits until the thread has ended.
  public consuming func join() {
    pthread_join(handle, nil)
  }

  private final class Body {
    let name: String
    let run: () -> Void

    init(name: String, run: @escaping () -> Void) {
      self.name = name
      self.run = run
    }
  }

  private static let enter: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = { argument in
    let body = unsafe Unmanaged<Body>.fromOpaque(argument!).takeRetainedValue()
    unsafe linux_name_thread(body.name)
    body.run()
    return nil
  }
}
