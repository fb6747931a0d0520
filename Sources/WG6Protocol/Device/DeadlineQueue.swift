/// The next deadline of each peer, and which of them comes first: a binary heap that knows where each peer stands.
struct DeadlineQueue {
  private var heap: [(deadline: Nanoseconds, slot: UInt32)] = []
  /// By slot: the place in `heap`, or -1.
  private var places: [Int] = []

  /// The earliest deadline; `nil` while there is none.
  var first: Nanoseconds? { heap.first?.deadline }

  /// Sets the deadline of the peer in `slot`; `nil` takes it out.
  mutating func set(_ deadline: Nanoseconds?, for slot: UInt32) {
    while places.count <= Int(slot) { places.append(-1) }
    var place = places[Int(slot)]
    guard let deadline else {
      if place >= 0 { remove(at: place) }
      return
    }
    if place < 0 {
      place = heap.count
      heap.append((deadline, slot))
      places[Int(slot)] = place
    } else {
      heap[place].deadline = deadline
    }
    siftDown(siftUp(place))
  }

  /// Takes out the peer whose deadline is the earliest, where it has passed.
  mutating func popExpired(at now: Nanoseconds) -> UInt32? {
    guard let first = heap.first, first.deadline <= now else { return nil }
    remove(at: 0)
    return first.slot
  }

  private mutating func remove(at place: Int) {
    places[Int(heap[place].slot)] = -1
    let last = heap.removeLast()
    guard place < heap.count else { return }
    heap[place] = last
    places[Int(last.slot)] = place
    siftDown(siftUp(place))
  }

  private mutating func siftUp(_ start: Int) -> Int {
    var place = start
    while place > 0, heap[place].deadline < heap[(place - 1) / 2].deadline {
      swap(place, (place - 1) / 2)
      place = (place - 1) / 2
    }
    return place
  }

  private mutating func siftDown(_ start: Int) {
    var place = start
    while true {
      var least = place
      for child in [2 * place + 1, 2 * place + 2]
      where child < heap.count && heap[child].deadline < heap[least].deadline {
        least = child
      }
      guard least != place else { return }
      swap(place, least)
      place = least
    }
  }

  private mutating func swap(_ a: Int, _ b: Int) {
    heap.swapAt(a, b)
    places[Int(heap[a].slot)] = a
    places[Int(heap[b].slot)] = b
  }
}
