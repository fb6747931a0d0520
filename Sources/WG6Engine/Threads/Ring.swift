import Synchronization
import WG6Protocol

/// A bounded queue from one thread to another: one writer, one reader, no lock. Full, it takes no more.
@safe final class Ring<Element>: @unchecked Sendable {
  private let capacity: Int
  // SAFETY: `capacity` places; those from `head` up to `tail` are initialised. The writer writes at `tail` before it
  // moves it, the reader reads at `head` before it moves that.
  private let elements: UnsafeMutablePointer<Element>
  private let head = Atomic<Int>(0)
  private let tail = Atomic<Int>(0)

  /// - Parameter capacity: elements at most. They are plain values, with nothing to release.
  init(capacity: Int) {
    precondition(_isPOD(Element.self))
    self.capacity = capacity
    unsafe elements = .allocate(capacity: capacity)
  }

  deinit {
    unsafe elements.deallocate()
  }

  /// The writer's side.
  ///
  /// - Returns: false where the queue is full.
  func push(_ element: Element) -> Bool {
    let end = tail.load(ordering: .relaxed)
    guard end - head.load(ordering: .acquiring) < capacity else { return false }
    unsafe (elements + end % capacity).initialize(to: element)
    tail.store(end + 1, ordering: .releasing)
    return true
  }

  /// The reader's side.
  func pop() -> Element? {
    let start = head.load(ordering: .relaxed)
    guard start < tail.load(ordering: .acquiring) else { return nil }
    let element = unsafe elements[start % capacity]
    head.store(start + 1, ordering: .releasing)
    return element
  }

  /// How full it is, 0 to 1.
  var fill: Double {
    let waiting = tail.load(ordering: .acquiring) - head.load(ordering: .acquiring)
    return Double(waiting) / Double(capacity)
  }
}

/// An ICMP error about a packet that can't be sent, on its way to the control thread: a whole packet.
struct ComposedError {
  private var bytes = InlineArray<1280, UInt8>(repeating: 0)
  private var count = 0

  /// Nil where it is longer than ICMP errors are.
  init?(_ packet: UnsafeRawBufferPointer) {
    guard packet.count <= bytes.count else { return nil }
    count = packet.count
    unsafe withUnsafeMutableBytes(of: &bytes) { unsafe $0.copyMemory(from: packet) }
  }

  func withBytes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
    unsafe withUnsafeBytes(of: bytes) { unsafe body(UnsafeRawBufferPointer(rebasing: $0[..<count])) }
  }
}

/// A handshake message or a cookie reply on its way to the control thread.
struct ArrivedMessage {
  var message: ControlMessage
  var path: PackedPath
}
