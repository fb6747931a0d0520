import Foundation

/// A thread of its own for a piece of work that blocks.
final class Background: Sendable {
  private let ended = DispatchSemaphore(value: 0)

  init(_ work: @escaping @Sendable () -> Void) {
    Thread { [ended] in
      work()
      ended.signal()
    }.start()
  }

  func join() { ended.wait() }
}

/// A C structure that two threads look at, through functions that know how to.
final class Shared<Structure>: @unchecked Sendable {
  let memory: UnsafeMutablePointer<Structure>

  init(_ structure: Structure) {
    memory = .allocate(capacity: 1)
    memory.initialize(to: structure)
  }

  deinit { memory.deallocate() }
}
