import WG6Protocol

/// What will happen, earliest first, and in the order of arrival where instants are equal: a binary heap.
struct EventQueue<Event> {
  private var heap: [(at: Nanoseconds, order: UInt64, event: Event)] = []
  private var count: UInt64 = 0

  /// When the next event is due.
  var first: Nanoseconds? { heap.first?.at }

  mutating func insert(_ event: Event, at instant: Nanoseconds) {
    heap.append((instant, count, event))
    count += 1
    var place = heap.count - 1
    while place > 0, precedes(place, (place - 1) / 2) {
      heap.swapAt(place, (place - 1) / 2)
      place = (place - 1) / 2
    }
  }

  /// Takes out the earliest. Precondition: there is one.
  mutating func removeFirst() -> Event {
    heap.swapAt(0, heap.count - 1)
    let event = heap.removeLast().event
    var place = 0
    while true {
      var least = place
      for child in [2 * place + 1, 2 * place + 2] where child < heap.count && precedes(child, least) { least = child }
      guard least != place else { return event }
      heap.swapAt(place, least)
      place = least
    }
  }

  mutating func removeAll() { heap.removeAll() }

  private func precedes(_ a: Int, _ b: Int) -> Bool {
    (heap[a].at, heap[a].order) < (heap[b].at, heap[b].order)
  }
}
