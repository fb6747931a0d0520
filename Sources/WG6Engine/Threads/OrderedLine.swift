import Glibc
import Synchronization
import WG6Crypto

/// Work in pieces: the costly part of each may be done by any thread, at the same time as that of others; what has to be
/// done in order is done in the order in which the pieces came in.
protocol LinePiece: ~Copyable {
  associatedtype Finisher

  /// Whether there is so little to do that another thread is not worth waking up.
  var isSmall: Bool { get }

  /// The costly part: seals or opens.
  mutating func work(with cipher: borrowing TrainCipher)

  /// The ordered part, one at a time. Leaves the piece empty.
  mutating func finish(by finisher: Finisher)
}

/// A ring of pieces that one thread fills, and that others help it with.
///
/// With no helpers, and for a small piece while nothing is under way, the thread does all of it at once. Where there are
/// helpers it puts the piece into the ring; whoever is free claims the oldest that is unclaimed, and whoever has done one
/// finishes all that are next in order. Nobody ever waits for a lock: one who finds another finishing leaves that to him.
@safe final class OrderedLine<Piece: LinePiece & ~Copyable>: @unchecked Sendable {
  /// Pieces under way at most; a power of two.
  static var capacity: UInt64 { 8 }

  // SAFETY: `slotCount` of each for as long as the line lives. A slot's piece is the filling thread's while it is free, of
  // whoever claimed it while it is filled, and of whoever has the baton once it is worked. The finisher is the baton's.
  private let states: UnsafeMutablePointer<Atomic<UInt32>>
  private let pieces: UnsafeMutablePointer<Piece>
  private let slotCount: Int
  private let finisher: Piece.Finisher
  private let semaphore: UnsafeMutablePointer<sem_t>
  private let helperCount: Int
  private let cipher: TrainCipher.Kind?
  // SAFETY: the filling thread's; initialized by `prepare`.
  private let ownCipher: UnsafeMutablePointer<TrainCipher>
  private let isPrepared = Atomic<Bool>(false)

  /// Pieces that came in; written by the filling thread alone.
  private let filled = Atomic<UInt64>(0)
  /// Pieces that someone has taken on.
  private let claimed = Atomic<UInt64>(0)
  /// Pieces that are done with; written by whoever has the baton.
  private let finished = Atomic<UInt64>(0)
  private let hasBaton = Atomic<Bool>(false)
  private let sleepers = Atomic<Int>(0)
  private let isEnding = Atomic<Bool>(false)

  /// - Parameters:
  ///   - finisher: outlives the line.
  ///   - cipher: for each thread one of its own.
  ///   - helperCount: how many threads will run `help`.
  ///   - makePiece: makes an empty piece, one for each place in the ring.
  init(finisher: Piece.Finisher, cipher: TrainCipher.Kind?, helperCount: Int, makePiece: () -> Piece) {
    self.finisher = finisher
    self.cipher = cipher
    self.helperCount = helperCount
    unsafe ownCipher = .allocate(capacity: 1)
    slotCount = helperCount > 0 ? Int(Self.capacity) : 0
    unsafe states = .allocate(capacity: slotCount)
    unsafe pieces = .allocate(capacity: slotCount)
    for index in 0..<slotCount {
      unsafe (states + index).initialize(to: Atomic(SlotState.free))
      unsafe (pieces + index).initialize(to: makePiece())
    }
    unsafe semaphore = .allocate(capacity: 1)
    unsafe semaphore.initialize(to: sem_t())
    unsafe sem_init(semaphore, 0, 0)
  }

  deinit {
    if isPrepared.load(ordering: .acquiring) { unsafe ownCipher.deinitialize(count: 1) }
    unsafe ownCipher.deallocate()
    unsafe sem_destroy(semaphore)
    unsafe semaphore.deallocate()
    unsafe pieces.deinitialize(count: slotCount)
    unsafe pieces.deallocate()
    unsafe states.deinitialize(count: slotCount)
    unsafe states.deallocate()
  }

  // MARK: The filling thread

  /// Makes what the filling thread needs: before anything else. It takes milliseconds, which the control thread need not
  /// wait for.
  func prepare() {
    unsafe ownCipher.initialize(to: TrainCipher(cipher))
    isPrepared.store(true, ordering: .releasing)
  }

  /// Has `piece` worked on and finished, behind all that came before it, at once or soon. Leaves an empty piece there.
  func submit(_ piece: inout Piece) {
    if helperCount == 0 || piece.isSmall && isIdle { return submitAtOnce(&piece) }
    let number = filled.load(ordering: .relaxed)
    let slot = Int(number % Self.capacity)
    while unsafe states[slot].load(ordering: .acquiring) != SlotState.free { lend() }
    unsafe swap(&pieces[slot], &piece)
    unsafe states[slot].store(SlotState.filled, ordering: .releasing)
    // Either a helper that is about to sleep sees this piece, or it is seen here.
    filled.store(number + 1, ordering: .sequentiallyConsistent)
    if sleepers.load(ordering: .sequentiallyConsistent) > 0 { unsafe sem_post(semaphore) }
  }

  /// The same, but it is finished on return, and what is left of the piece stays there.
  func submitAtOnce(_ piece: inout Piece) {
    drain()
    unsafe piece.work(with: ownCipher.pointee)
    piece.finish(by: finisher)
  }

  /// Returns when everything is finished, having helped with it.
  func drain() {
    while !isIdle { lend() }
  }

  private var isIdle: Bool { finished.load(ordering: .acquiring) == filled.load(ordering: .relaxed) }

  /// Does one piece, or leaves the processor to someone who does.
  private func lend() {
    if !workOne(unsafe ownCipher.pointee) { sched_yield() }
  }

  // MARK: Helpers

  /// A helper's life: until `end`.
  func help() {
    let cipher = TrainCipher(cipher)
    while !isEnding.load(ordering: .acquiring) {
      if workOne(cipher) { continue }
      sleepers.wrappingAdd(1, ordering: .sequentiallyConsistent)
      if claimed.load(ordering: .relaxed) == filled.load(ordering: .sequentiallyConsistent),
        !isEnding.load(ordering: .sequentiallyConsistent)
      {
        unsafe sem_wait(semaphore)
      }
      sleepers.wrappingSubtract(1, ordering: .relaxed)
    }
  }

  /// Ends all helpers. The line is idle by then.
  func end() {
    isEnding.store(true, ordering: .sequentiallyConsistent)
    for _ in 0..<helperCount { unsafe sem_post(semaphore) }
  }

  /// Works on the oldest piece that nobody has; false where there is none.
  private func workOne(_ cipher: borrowing TrainCipher) -> Bool {
    var number = claimed.load(ordering: .relaxed)
    while true {
      guard number < filled.load(ordering: .acquiring) else { return false }
      let (exchanged, original) = claimed.weakCompareExchange(
        expected: number, desired: number + 1, ordering: .acquiringAndReleasing)
      if exchanged { break }
      number = original
    }
    let slot = Int(number % Self.capacity)
    unsafe pieces[slot].work(with: cipher)
    unsafe states[slot].store(SlotState.worked, ordering: .sequentiallyConsistent)
    finishNext()
    return true
  }

  /// Finishes what is next in order, unless someone is at it.
  private func finishNext() {
    // One who takes over from another sees all that he did.
    while !hasBaton.exchange(true, ordering: .sequentiallyConsistent) {
      var number = finished.load(ordering: .relaxed)
      var slot = Int(number % Self.capacity)
      while unsafe states[slot].load(ordering: .acquiring) == SlotState.worked {
        unsafe pieces[slot].finish(by: finisher)
        unsafe states[slot].store(SlotState.free, ordering: .releasing)
        number += 1
        finished.store(number, ordering: .releasing)
        slot = Int(number % Self.capacity)
      }
      hasBaton.store(false, ordering: .sequentiallyConsistent)
      // Another may have been worked on meanwhile, and its worker have found the baton taken.
      guard unsafe states[slot].load(ordering: .sequentiallyConsistent) == SlotState.worked else { return }
    }
  }
}

private enum SlotState {
  static let free: UInt32 = 0
  static let filled: UInt32 = 1
  static let worked: UInt32 = 2
}
