import Synchronization

/// The peers that get a copy of each multicast packet: a list that does not change once it is published.
@safe struct MulticastReceivers {
  // SAFETY: a word that says how many peers there are, and as many words that are their addresses.
  private let words: UnsafeMutablePointer<UInt>

  /// What the data threads look at.
  struct Snapshot: ~Copyable {
    private let current = Atomic<UInt>(0)

    /// Nil while no peer gets any.
    var receivers: MulticastReceivers? {
      unsafe UnsafeMutablePointer(bitPattern: current.load(ordering: .acquiring)).map {
        unsafe MulticastReceivers(words: $0)
      }
    }

    /// Publishes `receivers`. The caller retires the former ones.
    func publish(_ receivers: MulticastReceivers?) {
      current.store(receivers.map { unsafe UInt(bitPattern: $0.words) } ?? 0, ordering: .releasing)
    }
  }

  /// Nil where there are none.
  init?(_ peers: [PeerReference]) {
    guard !peers.isEmpty else { return nil }
    unsafe words = .allocate(capacity: peers.count + 1)
    unsafe words.initialize(to: UInt(peers.count))
    for (index, peer) in peers.enumerated() {
      unsafe (words + index + 1).initialize(to: UInt(bitPattern: peer.pointer))
    }
  }

  private init(words: UnsafeMutablePointer<UInt>) {
    unsafe self.words = words
  }

  func destroy() {
    unsafe words.deallocate()
  }

  var count: Int { unsafe Int(words.pointee) }

  /// Precondition: `index` is below `count`.
  subscript(index: Int) -> PeerReference {
    precondition(index >= 0 && index < count)
    return unsafe PeerReference(pointer: UnsafeMutablePointer(bitPattern: words[index + 1])!)
  }
}
