import CSodium
import CVectorCrypto
import Foundation
import Testing
import WG6Simulation

@testable import WG6Crypto

/// ipsec-mb and libsodium, one against the other.
@Suite(.enabled(if: VectorCipher.isPresent, VectorCipher.absence))
struct `The vector cipher` {
  init() throws { try VectorCipher.require() }

  /// Every length that a datagram can have, an eighth of them a test; a train is some of them, in any order.
  @Test(arguments: 0..<8) func `opens what libsodium sealed and the reverse, of all lengths to 65,535`(part: Int) {
    let seed = UInt64.random(in: 0 ... .max)
    var random = SeededRandom(seed: seed)
    var lengths = stride(from: part, through: 65535, by: 8).shuffled(using: &random)[...]
    let vector = TrainCipher(.vector), sodium = TrainCipher(.sodium)
    while !lengths.isEmpty {
      let train = lengths.prefix(Int.random(in: 1...64, using: &random))
      lengths = lengths.dropFirst(train.count)
      let ours = CipherBench(lengths: train, seed: random.next())
      vector.seal(ours.jobs)
      // Sealing is the same to the last byte, so each opens what the other sealed if it opens its own; do it all the same.
      let sealed = ours.work.baseAddress!
      let theirs = UnsafeMutableRawPointer.allocate(byteCount: ours.work.count, alignment: 64)
      defer { theirs.deallocate() }
      memcpy(theirs, ours.text.baseAddress!, ours.work.count)
      move(ours.jobs, by: theirs - sealed)
      sodium.seal(ours.jobs)
      guard memcmp(theirs, sealed, ours.work.count) == 0 else { return fail("seed \(seed): sealed differently") }
      vector.open(ours.jobs)
      guard ours.jobs.allSatisfy(\.isGenuine) else { return fail("seed \(seed): the vector cipher opens not") }
      move(ours.jobs, by: sealed - theirs)
      for index in ours.jobs.indices { ours.jobs[index].isGenuine = false }
      sodium.open(ours.jobs)
      if let index = ours.firstNotOpened { return fail("seed \(seed): \(ours.jobs[index].count) bytes by libsodium") }
      for job in ours.jobs where memcmp(theirs + (job.text - sealed), job.text, job.count) != 0 {
        return fail("seed \(seed): \(job.count) bytes by the vector cipher")
      }
    }
  }

  private func move(_ jobs: UnsafeMutableBufferPointer<CipherJob>, by distance: Int) {
    for index in jobs.indices { jobs[index].text += distance }
  }

  @Test func `is what a machine that has it takes`() {
    let best = TrainCipher(), asked = TrainCipher(.sodium)
    #expect(best.kind == .vector)
    #expect(asked.kind == .sodium)
  }

  @Test func `reads jobs as Swift lays them out`() {
    #expect(MemoryLayout<CipherJob>.stride == MemoryLayout<vector_job>.stride)
    #expect(MemoryLayout<CipherJob>.offset(of: \.text) == MemoryLayout<vector_job>.offset(of: \.text))
    #expect(MemoryLayout<CipherJob>.offset(of: \.count) == MemoryLayout<vector_job>.offset(of: \.count))
    #expect(MemoryLayout<CipherJob>.offset(of: \.counter) == MemoryLayout<vector_job>.offset(of: \.counter))
    #expect(MemoryLayout<CipherJob>.offset(of: \.key) == MemoryLayout<vector_job>.offset(of: \.key))
    #expect(MemoryLayout<CipherJob>.offset(of: \.isGenuine) == MemoryLayout<vector_job>.offset(of: \.is_genuine))
  }

  @Test func `is not looked for in a library that is missing, another, or of another version`() throws {
    #expect(CipherTrial.problem(ofLibrary: "libNobody.so.1") == "libNobody.so.1 is not installed")
    let wanted = "and wg6 was built for "
    #expect(CipherTrial.problem(ofLibrary: "libc.so.6")?.hasPrefix("libc.so.6 is version 0.0, \(wanted)") == true)
    let folder = FileManager.default.temporaryDirectory.appending(path: "wg6-\(UUID())")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let text = folder.appending(path: "text.so").path
    try "This is no library.".write(toFile: text, atomically: true, encoding: .utf8)
    #expect(CipherTrial.problem(ofLibrary: text)?.contains("file too short") == true)
    // Nothing but a version: what it should hold otherwise must not be looked for.
    let newer = try library("unsigned imb_get_version(void) { return 0x17F00; }", in: folder, named: "newer.so")
    let refusal = try #require(CipherTrial.problem(ofLibrary: newer))
    #expect(refusal.hasPrefix("\(newer) is version 1.127, \(wanted)"))
    let numbers = refusal.split(separator: " ").last!.split(separator: ".").map { Int($0)! }
    let right = numbers[0] << 16 | numbers[1] << 8 | numbers[2]
    let hollow = try library("unsigned imb_get_version(void) { return \(right); }", in: folder, named: "hollow.so")
    #expect(CipherTrial.problem(ofLibrary: hollow) == "\(hollow) is not what its version says")
    // And the one that is loaded works on.
    let bench = CipherBench(lengths: [100], seed: 4), cipher = TrainCipher(.vector)
    cipher.seal(bench.jobs)
    cipher.open(bench.jobs)
    #expect(bench.firstNotOpened == nil)
  }

  /// The path of a shared library that the toolchain's compiler makes of `source`.
  private func library(_ source: String, in folder: URL, named name: String) throws -> String {
    let result: String = folder.appending(path: name).path
    let file: String = result + ".c"
    try source.write(toFile: file, atomically: true, encoding: .utf8)
    // Foundation's `Process` leaks a little, which the address sanitizer tells.
    let arguments: [String] = ["clang", "-shared", "-fPIC", "-nostdlib", "-o", result, file]
    var words: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) }
    words.append(nil)
    defer { for word in words { free(word) } }
    var compiler = pid_t()
    var outcome: Int32 = -1
    let refusal = posix_spawnp(&compiler, "clang", nil, nil, words, environ)
    try #require(refusal == 0)
    let ended = waitpid(compiler, &outcome, 0)
    try #require(ended == compiler && outcome == 0)
    return result
  }
}

/// The trial before the vector cipher is used, of ciphers that are wrong in one thing.
@Suite struct `The cipher's trial` {
  typealias Train = CipherTrial.Train

  init() throws { try #require(prepareCryptography()) }

  private func verdict(
    sealing seal: (borrowing TrainCipher, Train) -> Void = { $0.seal($1) },
    opening open: (borrowing TrainCipher, Train) -> Void = { $0.open($1) }
  ) -> String? {
    let cipher = TrainCipher(.sodium), trial = CipherTrial()
    return trial.problem(sealing: { seal(cipher, $0) }, opening: { open(cipher, $0) })
  }

  @Test func `passes who does as libsodium does`() {
    #expect(verdict() == nil)
  }

  @Test(arguments: CipherTrial.lengths) func `stops who seals one length wrongly`(length: Int) {
    let answer = verdict(sealing: { cipher, jobs in
      cipher.seal(jobs)
      for job in jobs where job.count == length { job.text.assumingMemoryBound(to: UInt8.self)[length + 15] ^= 1 }
    })
    #expect(answer?.contains("does not seal") == true)
  }

  @Test func `stops who forgets half of the counter, or that keys differ`() {
    let half = verdict(sealing: { cipher, jobs in
      let kept = Array(jobs)
      for index in jobs.indices { jobs[index].counter &= 0xFFFF_FFFF }
      cipher.seal(jobs)
      for index in jobs.indices { jobs[index] = kept[index] }
    })
    #expect(half?.contains("does not seal") == true)
    let key = verdict(sealing: { cipher, jobs in
      let kept = Array(jobs)
      for index in jobs.indices { jobs[index].key = kept[0].key }
      cipher.seal(jobs)
      for index in jobs.indices { jobs[index] = kept[index] }
    })
    #expect(key?.contains("does not seal") == true)
  }

  @Test func `stops who opens nothing, opens it wrongly, or looks at no tag`() {
    let nothing = verdict(opening: { _, jobs in
      for index in jobs.indices { jobs[index].isGenuine = false }
    })
    #expect(nothing?.contains("does not open") == true)
    let wrongly = verdict(opening: { cipher, jobs in
      cipher.open(jobs)
      jobs[20].text.assumingMemoryBound(to: UInt8.self)[0] ^= 1
    })
    #expect(wrongly?.contains("does not open") == true)
    let anything = verdict(opening: { cipher, jobs in
      cipher.open(jobs)
      for index in jobs.indices { jobs[index].isGenuine = true }
    })
    #expect(anything?.contains("were changed") == true)
  }

  @Test(arguments: 0..<16) func `stops who looks past a byte of the tag`(byte: Int) {
    var tags: [UInt8] = []
    let answer = verdict(
      sealing: { cipher, jobs in
        cipher.seal(jobs)
        tags = jobs.map { $0.text.load(fromByteOffset: $0.count + byte, as: UInt8.self) }
      },
      opening: { cipher, jobs in
        for (job, tag) in zip(jobs, tags) {
          job.text.storeBytes(of: tag, toByteOffset: job.count + byte, as: UInt8.self)
        }
        cipher.open(jobs)
      })
    #expect(answer?.contains("were changed") == true)
  }

  @Test func `stops who leaves what was forged to be read`() {
    let answer = verdict(opening: { cipher, jobs in
      let kept = jobs.map { Array(UnsafeRawBufferPointer(start: $0.text, count: $0.count)) }
      cipher.open(jobs)
      for (job, text) in zip(jobs, kept) where !job.isGenuine { job.text.copyMemory(from: text, byteCount: text.count) }
    })
    #expect(answer?.contains("were changed") == true)
  }
}
