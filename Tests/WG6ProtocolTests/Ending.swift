import Synchronization

/// Tells threads to stop.
final class Ending: Sendable {
  private let flag = Atomic<Bool>(false)
  var has: Bool { flag.load(ordering: .acquiring) }
  func set() { flag.store(true, ordering: .releasing) }
}
