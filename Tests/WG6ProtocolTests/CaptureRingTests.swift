import Foundation
import Testing
import WG6Crypto
import WG6Simulation

@testable import WG6Protocol

/// Memory as a capture has it, with the least ring that there may be.
final class CaptureMemory: @unchecked Sendable {
  let bytes: UnsafeMutableRawBufferPointer

  init(ring: Int = 1 << 18) {
    bytes = .allocate(byteCount: CaptureRing.headerLength + ring, alignment: 4096)
    bytes.initializeMemory(as: UInt8.self, repeating: 0)
  }

  deinit { bytes.deallocate() }
}

/// All that can be read now.
func records(_ reader: inout CaptureReader) -> [(record: CaptureRecord, packet: [UInt8])] {
  var all: [(record: CaptureRecord, packet: [UInt8])] = []
  while reader.next({ all.append(($0, Array($1))) }) == .record {}
  return all
}

@Suite struct `A capture's ring` {
  private func key(_ number: UInt8) -> PublicKey { PublicKey(InlineArray(repeating: number)) }

  private func packet(_ random: inout SeededRandom, atMost most: Int) -> [UInt8] {
    (0..<Int.random(in: 0...most, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
  }

  /// Against a queue that holds as many bytes, with what a record costs: what is let in comes out, once, in order and whole.
  @Test(arguments: [1, 2, 3]) func `holds what a bounded queue holds, in order and whole`(seed: UInt64) {
    let memory = CaptureMemory()
    let writer = CaptureWriter(memory.bytes)
    var reader = CaptureReader(memory.bytes)!
    var random = SeededRandom(seed: seed)
    var model: [(record: CaptureRecord, packet: [UInt8])] = []
    var missed: UInt64 = 0, written = 0, longest = 0
    for round in 0..<4000 {
      for _ in 0..<Int.random(in: 0...12, using: &random) {
        let packet = packet(&random, atMost: Int.random(in: 0...20, using: &random) == 0 ? 65575 : 1500)
        let drop = DropReason.allCases.randomElement(using: &random)!
        let record = CaptureRecord(
          time: UInt64(written), direction: Bool.random(using: &random) ? .inbound : .outbound,
          drop: Bool.random(using: &random) ? drop : nil, peer: Bool.random(using: &random) ? key(7) : nil,
          count: Int.random(in: 1...64, using: &random), missed: missed)
        written += 1
        let before = reader.missed
        packet.withUnsafeBytes { writer.write(record, $0) }
        if reader.missed == before { model.append((record, packet)) } else { missed += 1 }
        let counted = reader.missed
        #expect(counted == missed)
        longest = max(longest, model.reduce(0) { $0 + $1.packet.count + 72 })
      }
      guard round % 3 == 0 else { continue }
      for _ in 0..<Int.random(in: 0...30, using: &random) {
        var found: (record: CaptureRecord, packet: [UInt8])?
        let step = reader.next { found = ($0, Array($1)) }
        #expect((step == .record) == !model.isEmpty)
        guard step == .record else { break }
        let expected = model.removeFirst()
        guard found!.record == expected.record, found!.packet == expected.packet else {
          Issue.record("seed \(seed), round \(round): \(found!.record) in place of \(expected.record)")
          return
        }
      }
    }
    // It was full more than once, and next to all of it was in use.
    #expect(missed > 100 && longest > (1 << 18) - 66_000 && longest <= 1 << 18, "\(missed), \(longest)")
  }

  @Test func `takes from many threads at once, and counts all that it has no room for`() {
    let memory = CaptureMemory()
    let writer = UnsafeMutablePointer<CaptureWriter>.allocate(capacity: 1)
    writer.initialize(to: CaptureWriter(memory.bytes))
    defer {
      writer.deinitialize(count: 1)
      writer.deallocate()
    }
    let threads = 4, each = 40_000
    let address = UInt(bitPattern: writer)
    let group = DispatchGroup()
    for thread in 0..<threads {
      group.enter()
      Thread.detachNewThread {
        let writer = UnsafeMutablePointer<CaptureWriter>(bitPattern: address)!
        for number in 0..<each {
          let packet = [UInt8](repeating: UInt8(thread), count: number % 300)
          packet.withUnsafeBytes {
            writer.pointee.write(
              CaptureRecord(time: UInt64(number), direction: .inbound, count: thread + 1), $0)
          }
        }
        group.leave()
      }
    }
    var reader = CaptureReader(memory.bytes)!
    var next = [Int](repeating: 0, count: threads)
    var taken = 0, wrong = 0
    var isOver = false
    while true {
      let step = reader.next { record, packet in
        taken += 1
        let thread = record.count - 1, number = Int(record.time)
        // In each thread's own order, with gaps where there was no room.
        if number < next[thread] || packet.count != number % 300 || packet.contains(where: { Int($0) != thread }) {
          wrong += 1
        }
        next[thread] = number + 1
      }
      #expect(step != .broken)
      if step == .record { continue }
      if isOver || step == .broken { break }
      isOver = group.wait(timeout: .now() + 0.001) == .success
    }
    #expect(wrong == 0)
    let missed = Int(reader.missed)
    #expect(taken + missed == threads * each)
    #expect(taken > 1000)
  }

  @Test func `holds back a record that is not finished, and what is behind it`() {
    let memory = CaptureMemory()
    let writer = CaptureWriter(memory.bytes)
    var reader = CaptureReader(memory.bytes)!
    let record = CaptureRecord(time: 1, direction: .outbound)
    for _ in 0..<2 { [UInt8](repeating: 9, count: 50).withUnsafeBytes { writer.write(record, $0) } }
    // As if the first one's writer had not come so far.
    let first = memory.bytes.baseAddress! + CaptureRing.headerLength
    let word = first.load(as: UInt64.self)
    first.storeBytes(of: 0, as: UInt64.self)
    let held = records(&reader)
    #expect(held.isEmpty)
    first.storeBytes(of: word, as: UInt64.self)
    let all = records(&reader)
    #expect(all.count == 2)
  }

  @Test(arguments: [UInt64.max, 1, 1 << 20, 0x8000_0000_0000_0000])
  func `is not led astray by a reader that stores nonsense`(taken: UInt64) {
    // A page behind and before the memory would show a write outside: the ring's own bounds are compared.
    let memory = CaptureMemory()
    let writer = CaptureWriter(memory.bytes)
    let guardian = memory.bytes.baseAddress! + CaptureRing.takenOffset
    guardian.storeBytes(of: taken, as: UInt64.self)
    for _ in 0..<1000 {
      [UInt8](repeating: 0xEE, count: 1400).withUnsafeBytes {
        writer.write(CaptureRecord(time: 1, direction: .inbound), $0)
      }
    }
    // The header is as it was but for what was missed.
    let header = Array(memory.bytes[..<CaptureRing.headerLength])
    #expect(!header.contains(0xEE))
    #expect(guardian.load(as: UInt64.self) == taken)
  }

  @Test func `is refused where it is not one, and says so where it is broken`() {
    let memory = CaptureMemory()
    let isOne = CaptureReader(memory.bytes) != nil
    #expect(!isOne)
    let writer = CaptureWriter(memory.bytes)
    let header = UnsafeMutableRawBufferPointer(rebasing: memory.bytes[..<8192])
    let isLongEnough = CaptureReader(header) != nil
    #expect(!isLongEnough)
    var reader = CaptureReader(memory.bytes)!
    [UInt8](repeating: 1, count: 100).withUnsafeBytes {
      writer.write(CaptureRecord(time: 1, direction: .inbound), $0)
    }
    let first = memory.bytes.baseAddress! + CaptureRing.headerLength
    let whole = first.load(as: UInt64.self)
    for word: UInt64 in [4, 7, 16, 1 << 30, 0xFFFF_FFFF] {
      first.storeBytes(of: word, as: UInt64.self)
      let step = reader.next { _, _ in }
      #expect(step == .broken, "\(word)")
    }
    first.storeBytes(of: whole, as: UInt64.self)
    (first + 24).storeBytes(of: 1 << 20, as: UInt32.self)
    let step = reader.next { _, _ in }
    #expect(step == .broken)
  }
}
