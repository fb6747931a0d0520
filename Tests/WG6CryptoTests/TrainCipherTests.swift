import CSodium
import Foundation
import TestVectors
import Testing
import WG6Simulation

@testable import WG6Crypto

/// A train cipher of each kind, alone. Where there is no vector cipher, its tests are skipped and say so.
@Suite struct `A train cipher` {
  static let kinds: [TrainCipher.Kind] = VectorCipher.isPresent ? [.vector, .sodium] : [.sodium]

  init() throws {
    try #require(prepareCryptography())
    if Self.kinds.contains(.vector) { try VectorCipher.require() }
  }

  /// Its tag covers associated data, which data messages don't have; what is encrypted doesn't depend on that. No
  /// published vector has WireGuard's nonce and no associated data: the tags are compared with libsodium's, and those
  /// with Project Wycheproof's.
  @Test(arguments: kinds) func `encrypts as RFC 8439, A.5 does`(kind: TrainCipher.Kind) throws {
    let text = Array(
      """
      Internet-Drafts are draft documents valid for a maximum of six months and may be updated, replaced, or \
      obsoleted by other documents at any time. It is inappropriate to use Internet-Drafts as reference material or \
      to cite them other than as /\u{201C}work in progress./\u{201D}
      """.utf8)
    let expected = bytes(
      hex: """
        64a0861575861af460f062c79be643bd5e805cfd345cf389f108670ac76c8cb24c6cfc18755d43eea09ee94e382d26b0bdb7b73c321b0100\
        d4f03b7f355894cf332f830e710b97ce98c8a84abd0b94811
        """.replacing("\n", with: "") + """
          4ad176e008d33bd60f982b1ff37c8559797a06ef4f0ef61c186324e2b3506383606907b6a7c02b0f9f6157b53c867e4b9166c767b804d46\
          a59b5216cde7a4e99040c5a40433225ee282a1b0a06c523eaf4534d7f83fa1155b0047718cbc546a0d072b04b3564eea1b422273f548271a\
          0bb2316053fa76991955ebd63159434ecebb4e466dae5a1073a6727627097a1049e617d91d361094fa68f0ff77987130305beaba2eda04df\
          997b714d6c6f2c29a6ad5cb4022b02709b
          """)
    let key = bytes(hex: "1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0")
    let cipher = TrainCipher(kind)
    var message = text + [UInt8](repeating: 0, count: 16)
    withJob(&message, counter: 0x0807_0605_0403_0201, key: key) { cipher.seal($0) }
    #expect(Array(message.prefix(text.count)) == expected)
    let isGenuine = withJob(&message, counter: 0x0807_0605_0403_0201, key: key) { cipher.open($0) }
    #expect(isGenuine)
    #expect(Array(message.prefix(text.count)) == text)
  }

  @Test(arguments: kinds, [0, 1, 2, 63, 64, 65, 127, 128, 129, 1000])
  func `takes a train of any number of messages`(kind: TrainCipher.Kind, count: Int) throws {
    let seed = UInt64.random(in: 0 ... .max)
    let bench = CipherBench(lengths: (0..<count).map { $0 * 7 % 1500 }, seed: seed)
    let cipher = TrainCipher(kind)
    cipher.seal(bench.jobs)
    let unsealed = bench.jobs.firstIndex { $0.count >= 16 && bench.isPlain($0) }
    #expect(unsealed == nil, "seed \(seed)")
    cipher.open(bench.jobs)
    #expect(bench.firstNotOpened == nil, "seed \(seed)")
  }

  @Test(arguments: kinds) func `takes no train for a train of none`(kind: TrainCipher.Kind) {
    let cipher = TrainCipher(kind)
    cipher.seal(UnsafeMutableBufferPointer(start: nil, count: 0))
    cipher.open(UnsafeMutableBufferPointer(start: nil, count: 0))
  }

  @Test(arguments: kinds) func `refuses what was changed anywhere, zeroes it, and takes the rest of the train`(
    kind: TrainCipher.Kind
  ) throws {
    let cipher = TrainCipher(kind)
    for round in 0..<100 {
      let seed = UInt64.random(in: 0 ... .max)
      var random = SeededRandom(seed: seed)
      let lengths = (0..<64).map { _ in Int.random(in: 0...1500, using: &random) }
      let bench = CipherBench(lengths: lengths, seed: seed)
      cipher.seal(bench.jobs)
      var changed = Set<Int>()
      for index in bench.jobs.indices where Int.random(in: 0..<4, using: &random) == 0 {
        changed.insert(index)
        let bit = Int.random(in: 0..<(bench.jobs[index].count + 16) * 8, using: &random)
        bench.jobs[index].text.assumingMemoryBound(to: UInt8.self)[bit / 8] ^= 1 << UInt8(bit % 8)
        bench.jobs[index].isGenuine = true
      }
      cipher.open(bench.jobs)
      for (index, job) in bench.jobs.enumerated() {
        let isRight =
          changed.contains(index) ? !job.isGenuine && bench.isZero(job) : job.isGenuine && bench.isPlain(job)
        guard isRight else { return fail("seed \(seed), round \(round), message \(index) of \(job.count) bytes") }
      }
    }
  }

  @Test(arguments: kinds) func `refuses each bit of a short message that is flipped`(kind: TrainCipher.Kind) {
    let cipher = TrainCipher(kind)
    for length in [0, 1, 32, 65] {
      for bit in 0..<(length + 16) * 8 {
        let bench = CipherBench(lengths: [length], seed: 1)
        cipher.seal(bench.jobs)
        bench.jobs[0].text.assumingMemoryBound(to: UInt8.self)[bit / 8] ^= 1 << UInt8(bit % 8)
        cipher.open(bench.jobs)
        guard !bench.jobs[0].isGenuine, bench.isZero(bench.jobs[0]) else { return fail("\(length) bytes, bit \(bit)") }
      }
    }
  }

  @Test(arguments: kinds) func `refuses another counter and another key`(kind: TrainCipher.Kind) {
    let cipher = TrainCipher(kind)
    for bit in 0..<64 {
      let bench = CipherBench(lengths: [100, 0, 100], seed: 2)
      cipher.seal(bench.jobs)
      bench.jobs[0].counter ^= 1 << UInt64(bit)
      bench.jobs[1].counter ^= 1 << UInt64(bit)
      cipher.open(bench.jobs)
      #expect(bench.jobs.map(\.isGenuine) == [false, false, true], "bit \(bit)")
    }
    let bench = CipherBench(lengths: [100, 100], seed: 3)
    cipher.seal(bench.jobs)
    bench.jobs[0].key += 1
    cipher.open(bench.jobs)
    #expect(bench.jobs.map(\.isGenuine) == [false, true])
  }

  @Test(arguments: kinds) func `looks at nothing beyond the tag`(kind: TrainCipher.Kind) {
    let cipher = TrainCipher(kind)
    let page = Int(sysconf(Int32(_SC_PAGESIZE)))
    // The page behind is not there: whoever reads or writes beyond the tag ends here.
    let pages = mmap(nil, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)!
    defer { munmap(pages, 3 * page) }
    mprotect(pages + 2 * page, page, PROT_NONE)
    for length in 0..<2100 {
      let bench = CipherBench(lengths: [length], seed: UInt64(length))
      bench.jobs[0].text = pages + (2 * page - length - 16)
      memcpy(bench.jobs[0].text, bench.text.baseAddress!, length)
      cipher.seal(bench.jobs)
      cipher.open(bench.jobs)
      guard bench.jobs[0].isGenuine, memcmp(bench.jobs[0].text, bench.text.baseAddress!, length) == 0 else {
        return fail("\(length) bytes")
      }
    }
  }

  @Test(arguments: kinds) func `leaves no key on the stack`(kind: TrainCipher.Kind) {
    let size = 1 << 18
    let stack = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)!
    defer { munmap(stack, size) }
    let body: (@convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer?) = { box in
      let (bench, kind) = box!.load(as: (Unmanaged<CipherBench>, TrainCipher.Kind).self)
      let cipher = TrainCipher(kind)
      bench._withUnsafeGuaranteedRef {
        cipher.seal($0.jobs)
        cipher.open($0.jobs)
      }
      return nil
    }
    for length in [0, 16, 64, 300, 1000, 1420, 5000] {
      let bench = CipherBench(lengths: [length], seed: UInt64.random(in: 0 ... .max))
      var box = (Unmanaged.passUnretained(bench), kind)
      memset(stack, 0xA5, size)
      var attributes = pthread_attr_t()
      pthread_attr_init(&attributes)
      pthread_attr_setstack(&attributes, stack, size)
      var thread = pthread_t()
      #expect(pthread_create(&thread, &attributes, body, &box) == 0)
      pthread_join(thread, nil)
      #expect(bench.firstNotOpened == nil)
      let left = Data(bytesNoCopy: stack, count: size, deallocator: .none)
      for offset in stride(from: 0, through: 24, by: 4) {
        let words = Data(bytes: bench.jobs[0].key + offset, count: 8)
        #expect(left.range(of: words) == nil, "\(length) bytes, at \(offset) of the key")
      }
    }
  }

  @discardableResult private func withJob(
    _ message: inout [UInt8], counter: UInt64, key: [UInt8], _ body: (UnsafeMutableBufferPointer<CipherJob>) -> Void
  ) -> Bool {
    message.withUnsafeMutableBytes { message in
      key.withUnsafeBufferPointer { key in
        var job = CipherJob(
          text: message.baseAddress!, count: message.count - 16, counter: counter, key: key.baseAddress!)
        withUnsafeMutablePointer(to: &job) { body(UnsafeMutableBufferPointer(start: $0, count: 1)) }
        return job.isGenuine
      }
    }
  }
}

/// Ends a test that has no use for going on.
func fail(_ what: String) { Issue.record(Comment(rawValue: what)) }
