import Testing
import WG6Simulation

@testable import WG6Protocol

@Suite struct `Receiver indices` {
  @Test(arguments: seeds) func `the permutation has an inverse, both ways`(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    let permutation = IndexPermutation(key: (random.next(), random.next()))
    var images: Set<UInt32> = []
    for value in (0..<20000).map(UInt32.init) {
      let image = permutation.encrypt(value)
      images.insert(image)
      guard permutation.decrypt(image) == value, permutation.encrypt(permutation.decrypt(value)) == value else {
        Issue.record("value \(value)")
        return
      }
    }
    #expect(images.count == 20000)
    // Neither slots nor generations show: neighbours lie anywhere.
    let near = (0..<20000).count { index in
      let step = Int64(permutation.encrypt(UInt32(index))) - Int64(permutation.encrypt(UInt32(index) + 1))
      return step.magnitude < 1 << 16
    }
    #expect(near < 10)
  }

  /// What another implementation of the same network computes, with SipHash's example key.
  @Test(
    arguments: [
      (0, 0xF26D_9486), (1, 0x3576_7925), (0x1234_5678, 0x3096_7492), (0xFFFF_FFFF, 0xA012_090F),
    ] as [(UInt32, UInt32)])
  func `the permutation is the one that it says it is`(value: UInt32, image: UInt32) {
    let permutation = IndexPermutation(key: (0x0706_0504_0302_0100, 0x0F0E_0D0C_0B0A_0908))
    #expect(permutation.encrypt(value) == image)
    #expect(permutation.decrypt(image) == value)
  }

  @Test(arguments: seeds) func `no index is given out twice while it is in use`(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    let table = IndexTable(using: &random)
    var allocator = IndexAllocator()
    var used: [UInt32] = [], inUse: Set<UInt32> = []
    for _ in 0..<40000 {
      if used.isEmpty || random.below(100) < 55 {
        let index = allocator.allocate(in: table)!
        let isFresh = inUse.insert(index).inserted
        guard isFresh else { return #expect(isFresh, "index \(index)") }
        used.append(index)
      } else {
        used.swapAt(random.below(used.count), used.count - 1)
        let index = used.removeLast()
        inUse.remove(index)
        allocator.release(index, in: table)
      }
    }
  }

  @Test func `an index that was given back comes again only after a very long time`() {
    var random = SeededRandom(seed: 5)
    let table = IndexTable(using: &random)
    var allocator = IndexAllocator()
    var seen: Set<UInt32> = []
    for _ in 0..<60000 {
      let index = allocator.allocate(in: table)!
      seen.insert(index)
      allocator.release(index, in: table)
    }
    #expect(seen.count == 60000)
  }

  @Test func `an index of an earlier generation leads nowhere`() {
    var random = SeededRandom(seed: 6)
    let table = IndexTable(using: &random)
    var allocator = IndexAllocator()
    let peer = PeerReference.create(slot: 0)
    defer { peer.destroy() }
    let old = allocator.allocate(in: table)!
    let oldKeypair = makeKeypair(peer, index: old)
    table.bind(old, to: oldKeypair)
    let isFound = table.keypair(for: old) != nil
    #expect(isFound)
    table.bind(old, to: nil)
    allocator.release(old, in: table)
    oldKeypair.destroy()
    let isGone = table.keypair(for: old) == nil
    #expect(isGone)
    // All other slots of the page come first.
    var index = allocator.allocate(in: table)!
    for _ in 0..<IndexTable.slotsAPage - 1 { index = allocator.allocate(in: table)! }
    let keypair = makeKeypair(peer, index: index)
    defer { keypair.destroy() }
    table.bind(index, to: keypair)
    let stale = table.keypair(for: old) == nil, fresh = table.keypair(for: index) != nil
    #expect(index != old)
    #expect(stale && fresh)
  }

  @Test func `an index from outside leads nowhere`() {
    var random = SeededRandom(seed: 7)
    let table = IndexTable(using: &random)
    let found = (0..<10000).filter { _ in table.keypair(for: UInt32(truncatingIfNeeded: random.next())) != nil }
    #expect(found.isEmpty)
  }
}
