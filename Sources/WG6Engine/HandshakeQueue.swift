import Synchronization
import WG6Protocol

/// Handshake messages on their way from the inbound thread to the control thread: a ring with one writer and one reader.
///
/// Full, it takes no more; how full it is tells the engine whether it is under load.
@safe final class HandshakeQueue: @unchecked Sendable {
  static let capacity = 1024

  struct Entry {
    var message: ControlMessage
    var path: PackedPath
  }

  // SAFETY: `capacity` places; those from `head` up to `tail` are initialised. The writer writes at `tail` before it
  // moves it, the reader reads at `head` before it moves that.
  private let entries = UnsafeMutablePointer<Entry>.allocate(capacity: capacity)
  private let head = Atomic<Int>(0)
  private let tail = Atomic<Int>(0)

  deinit {
    unsafe entries.deallocate()
  }

  /// The inbound thread's side.
  ///
  /// - Returns: false where the queue is full.
  func push(_ message: ControlMessage, from path: PackedPath) -> Bool {
    let end = tail.load(ordering: .relaxed)
    guard end - head.load(ordering: .acquiring) < HandshakeQueue.capacity else { return false }
    unsafe (entries + end % HandshakeQueue.capacity).initialize(to: Entry(message: message, path: path))
    tail.store(end + 1, ordering: .releasing)
    return true
  }

  /// The control thread's side.
  func pop() -> Entry? {
    let start = head.load(ordering: .relaxed)
    guard start < tail.load(ordering: .acquiring) else { return nil }
    let entry = unsafe entries[start % HandshakeQueue.capacity]
    head.store(start + 1, ordering: .releasing)
    return entry
  }

  /// How full it is, 0 to 1.
  var fill: Double {
    let waiting = tail.load(ordering: .acquiring) - head.load(ordering: .acquiring)
    return Double(waiting) / Double(HandshakeQueue.capacity)
  }
}
