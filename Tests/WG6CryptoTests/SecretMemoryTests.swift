import Foundation
import Testing

@testable import WG6Crypto

/// Memory for keys. Serialised, and of a size class of its own where it looks back at what it gave away.
@Suite(.serialized) struct `Secret memory` {
  private func isZero(_ slot: UnsafeMutableRawPointer, _ count: Int) -> Bool {
    UnsafeRawBufferPointer(start: slot, count: count).allSatisfy { $0 == 0 }
  }

  @Test func `comes zeroed and aligned at every size, and no two slots touch`() {
    var slots: [(UnsafeMutableRawPointer, Int)] = []
    for round in 0..<3 {
      for size in 1...128 {
        let slot = SecretMemory.allocate(byteCount: size)
        let zero = isZero(slot, size)
        #expect(zero, "\(size) bytes, round \(round)")
        #expect(UInt(bitPattern: slot) % 32 == 0)
        slot.initializeMemory(as: UInt8.self, repeating: UInt8(size), count: size)
        slots.append((slot, size))
      }
    }
    for (slot, size) in slots {
      let isWhole = UnsafeRawBufferPointer(start: slot, count: size).allSatisfy { $0 == UInt8(size) }
      #expect(isWhole, "\(size) bytes")
      SecretMemory.deallocate(slot, byteCount: size)
    }
  }

  @Test(arguments: [1, 31, 32, 33, 63, 64, 65, 127, 128]) func `is zeroed to the last byte when it is given back`(
    size: Int
  ) {
    let slots = (0..<40).map { _ in SecretMemory.allocate(byteCount: size) }
    for slot in slots { slot.initializeMemory(as: UInt8.self, repeating: 0xA5, count: size) }
    for slot in slots { SecretMemory.deallocate(slot, byteCount: size) }
    // Another test may hold some of the slots by now, with bytes that are any of 256.
    let left = slots.count { slot in
      let bytes = UnsafeRawBufferPointer(start: slot, count: size)
      return bytes[0] == 0xA5 || bytes[size - 1] == 0xA5
    }
    #expect(left < slots.count / 2)
  }

  @Test func `secrets compare and copy by value`() {
    let bytes = (0..<32).map(UInt8.init)
    let one = Secret(copying: bytes.span.bytes), two = one.clone(), zero = Secret()
    let same = one == two, other = one == zero, isZero = zero.isZero, isNotZero = one.isZero
    #expect(same && !other && isZero && !isNotZero)
    two.withUnsafeMutableBytes { $0.storeBytes(of: 9, as: UInt8.self) }
    let differ = one == two
    #expect(!differ)
  }
}

@Suite struct `Bytes that are wiped` {
  private func array(_ bytes: borrowing WipedBytes) -> [UInt8] {
    bytes.withBytes { span in (0..<span.byteCount).map { span.byte(at: $0) } }
  }

  @Test(arguments: [1, 2, 3, .random(in: 0 ... .max)] as [UInt64]) func `agree with an array, whatever is done to them`(
    seed: UInt64
  ) {
    var state = seed
    func below(_ bound: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % bound
    }
    var bytes = WipedBytes(minimumCapacity: 1)
    var model: [UInt8] = []
    for step in 0..<3000 {
      switch below(6) {
      case 0:
        let piece = (0..<below(300)).map { UInt8(truncatingIfNeeded: $0 + step) }
        bytes.append(piece.span.bytes)
        model += piece
      case 1:
        bytes.append("key=\(step)")
        model += Array("key=\(step)".utf8)
      case 2:
        let room = below(200), used = room == 0 ? 0 : below(room)
        bytes.append(upTo: room) { buffer in
          for index in 0..<used { buffer[index] = UInt8(truncatingIfNeeded: index) }
          return used
        }
        model += (0..<used).map { UInt8(truncatingIfNeeded: $0) }
      case 3:
        let count = model.isEmpty ? 0 : below(model.count + 1)
        bytes.removeFirst(count)
        model.removeFirst(count)
      case 4 where step % 50 == 0:
        bytes.removeAll()
        model = []
      default:
        bytes.append(UInt8(truncatingIfNeeded: step))
        model.append(UInt8(truncatingIfNeeded: step))
      }
      let isSame = bytes.count == model.count && bytes.isEmpty == model.isEmpty
      guard isSame else { return #expect(isSame, "step \(step)") }
    }
    let content = array(bytes)
    #expect(content == model)
  }

  @Test(arguments: [1, 5000, 200_000])
  func `are in locked pages that are left out of core dumps, also when they have grown`(
    count: Int
  ) throws {
    var bytes = WipedBytes()
    bytes.append([UInt8](repeating: 0x5A, count: count).span.bytes)
    let ends = bytes.withBytes { span in
      span.withUnsafeBytes { [UInt(bitPattern: $0.baseAddress!), UInt(bitPattern: $0.baseAddress! + $0.count - 1)] }
    }
    for address in ends { #expect(try flags(at: address).isSuperset(of: ["lo", "dd"])) }
    _ = consume bytes
  }

  /// What the kernel is told to do with the page at `address`: proc_pid_smaps(5), VmFlags.
  private func flags(at address: UInt) throws -> Set<Substring> {
    let file = try #require(FileHandle(forReadingAtPath: "/proc/self/smaps"))
    let text = try String(decoding: #require(try file.readToEnd()), as: UTF8.self)
    var isThere = false
    for line in text.split(separator: "\n") {
      let words = line.split(separator: " ")
      let ends = words[0].split(separator: "-").compactMap { UInt($0, radix: 16) }
      if ends.count == 2 { isThere = (ends[0]..<ends[1]).contains(address) }
      if isThere, words[0] == "VmFlags:" { return Set(words.dropFirst()) }
    }
    return []
  }

  @Test func `are zeroes where they were removed`() {
    var bytes = WipedBytes(minimumCapacity: 256)
    bytes.append([UInt8](repeating: 0x5A, count: 200).span.bytes)
    bytes.removeFirst(150)
    // What was behind the fifty that are left is handed out as room for more.
    var behind: [UInt8] = []
    bytes.append(upTo: 150) { buffer in
      behind = Array(buffer)
      return 0
    }
    #expect(behind == Array(repeating: 0, count: 150))
    bytes.removeAll()
    bytes.append(upTo: 200) { buffer in
      behind = Array(buffer)
      return 0
    }
    #expect(behind == Array(repeating: 0, count: 200))
  }
}
