import Synchronization

/// Receiver indices: numbers that a peer puts into its messages, and that lead to a keypair in two loads.
///
/// An index is a slot and a generation under a keyed permutation. From outside it looks random, and neither the number
/// of sessions nor their order can be read from it. The control path binds; the inbound thread looks up.
@safe struct IndexTable: ~Copyable, @unchecked Sendable {
  static let slotBits: UInt32 = 22
  static let slotsAPage = 4096
  static let pageCount = (1 << Int(slotBits)) / slotsAPage

  fileprivate let permutation: IndexPermutation
  // SAFETY: `pageCount` words, each 0 or the address of a page of `slotsAPage` words, made when needed and kept. The
  // words in a page are 0, or the address of a keypair that lives until every reader has passed a quiescent point.
  private let pages: UnsafeMutablePointer<Atomic<UInt>>

  init(using random: inout some RandomNumberGenerator) {
    permutation = IndexPermutation(key: (random.next(), random.next()))
    unsafe pages = .allocate(capacity: IndexTable.pageCount)
    for index in 0..<IndexTable.pageCount { unsafe (pages + index).initialize(to: Atomic(0)) }
  }

  deinit {
    for index in 0..<IndexTable.pageCount {
      unsafe UnsafeMutableRawPointer(bitPattern: pages[index].load(ordering: .relaxed))?.deallocate()
    }
    unsafe pages.deinitialize(count: IndexTable.pageCount)
    unsafe pages.deallocate()
  }

  /// Makes messages to `index` find `keypair`, or nothing.
  func bind(_ index: UInt32, to keypair: KeypairReference?) {
    unsafe entry(slot(of: index))?.pointee.store(
      keypair.map { unsafe UInt(bitPattern: $0.pointer) } ?? 0, ordering: .releasing)
  }

  /// The keypair that `index` is bound to.
  func keypair(for index: UInt32) -> KeypairReference? {
    guard let entry = unsafe entry(slot(of: index)),
      let pointer = unsafe UnsafeMutablePointer<Keypair>(bitPattern: entry.pointee.load(ordering: .acquiring))
    else { return nil }
    // The slot is right; the generation must be, too.
    return unsafe pointer.pointee.localIndex == index ? KeypairReference(pointer: pointer) : nil
  }

  fileprivate func slot(of index: UInt32) -> UInt32 {
    permutation.decrypt(index) & (1 << IndexTable.slotBits - 1)
  }

  fileprivate func addPage(_ page: Int) {
    let entries = UnsafeMutablePointer<Atomic<UInt>>.allocate(capacity: IndexTable.slotsAPage)
    for offset in 0..<IndexTable.slotsAPage { unsafe (entries + offset).initialize(to: Atomic(0)) }
    unsafe pages[page].store(UInt(bitPattern: entries), ordering: .releasing)
  }

  private func entry(_ slot: UInt32) -> UnsafeMutablePointer<Atomic<UInt>>? {
    let (page, offset) = Int(slot).quotientAndRemainder(dividingBy: IndexTable.slotsAPage)
    return unsafe UnsafeMutablePointer<Atomic<UInt>>(bitPattern: pages[page].load(ordering: .acquiring))
      .map { unsafe $0 + offset }
  }
}

/// Which indices are in use: the control path's side of the table.
///
/// Slots are reused first in, first out, so that a number comes back only after millions of others.
struct IndexAllocator {
  private var free: [UInt32] = []
  private var freeHead = 0
  private var generations: [UInt32] = []

  /// A fresh index, bound to nothing yet; `nil` when four million are in use.
  mutating func allocate(in table: borrowing IndexTable) -> UInt32? {
    if free.count == freeHead, !addPage(to: table) { return nil }
    let slot = free[freeHead]
    freeHead += 1
    if freeHead > IndexTable.slotsAPage, freeHead * 2 > free.count {
      free.removeFirst(freeHead)
      freeHead = 0
    }
    return table.permutation.encrypt(generations[Int(slot)] << IndexTable.slotBits | slot)
  }

  /// Gives an index back. Nothing may be bound to it any more.
  mutating func release(_ index: UInt32, in table: borrowing IndexTable) {
    let slot = table.slot(of: index)
    generations[Int(slot)] = (generations[Int(slot)] + 1) & (1 << (32 - IndexTable.slotBits) - 1)
    free.append(slot)
  }

  private mutating func addPage(to table: borrowing IndexTable) -> Bool {
    let page = generations.count / IndexTable.slotsAPage
    guard page < IndexTable.pageCount else { return false }
    table.addPage(page)
    let firstSlot = UInt32(generations.count)
    generations.append(contentsOf: repeatElement(0, count: IndexTable.slotsAPage))
    free.append(contentsOf: firstSlot..<firstSlot + UInt32(IndexTable.slotsAPage))
    return true
  }
}

/// A keyed permutation of 32 bits: a Feistel network of six rounds over SipHash's mixing (Aumasson and Bernstein 2012).
struct IndexPermutation {
  private let key: (UInt64, UInt64)
  private static let rounds: UInt32 = 6

  init(key: (UInt64, UInt64)) {
    self.key = key
  }

  func encrypt(_ value: UInt32) -> UInt32 {
    var left = value >> 16, right = value & 0xFFFF
    for round in 0..<IndexPermutation.rounds { (left, right) = (right, left ^ mix(round, right)) }
    return left << 16 | right
  }

  func decrypt(_ value: UInt32) -> UInt32 {
    var left = value >> 16, right = value & 0xFFFF
    for round in (0..<IndexPermutation.rounds).reversed() { (left, right) = (right ^ mix(round, left), left) }
    return left << 16 | right
  }

  /// Sixteen bits that depend on the key, the round and `half`.
  private func mix(_ round: UInt32, _ half: UInt32) -> UInt32 {
    let message = UInt64(round) << 32 | UInt64(half)
    var state = SIMD4<UInt64>(
      key.0 ^ 0x736F_6D65_7073_6575, key.1 ^ 0x646F_7261_6E64_6F6D, key.0 ^ 0x6C79_6765_6E65_7261,
      key.1 ^ 0x7465_6462_7974_6573 ^ message)
    sipRound(&state)
    state.x ^= message
    state.z ^= 0xFF
    sipRound(&state)
    sipRound(&state)
    sipRound(&state)
    return UInt32(truncatingIfNeeded: (state.x ^ state.y ^ state.z ^ state.w) & 0xFFFF)
  }

  private func sipRound(_ v: inout SIMD4<UInt64>) {
    func rotate(_ x: UInt64, _ count: UInt64) -> UInt64 { x << count | x >> (64 - count) }
    v.x &+= v.y
    v.z &+= v.w
    v.y = rotate(v.y, 13) ^ v.x
    v.w = rotate(v.w, 16) ^ v.z
    v.x = rotate(v.x, 32) &+ v.w
    v.z &+= v.y
    v.w = rotate(v.w, 21) ^ v.x
    v.y = rotate(v.y, 17) ^ v.z
    v.z = rotate(v.z, 32)
  }
}
