import CSodium
import CVectorCrypto
import Foundation
import Testing
import WG6Simulation

@testable import WG6Crypto

/// Whether the vector cipher can be tried here: wherever its library is, so that one which fails its trial fails tests.
/// Where nothing may be missing, always.
enum VectorCipher {
  #if arch(x86_64)
    private static let mustRun = ProcessInfo.processInfo.environment["WG6_REQUIRE_ALL"] == "1"
  #else
    private static let mustRun = false
  #endif
  private static let absent: String? = vector_load(nil).map { String(cString: $0) }

  static var isPresent: Bool {
    if let absent, !mustRun { print("SKIPPED: no vector cipher (Debian: libipsec-mb-dev): \(absent)") }
    return absent == nil || mustRun
  }
  static let absence: Comment = "SKIPPED: there is no vector cipher"

  /// Fails where the cipher should be usable and is not.
  static func require() throws {
    guard prepareCryptography() else { throw Missing(description: "no libsodium") }
    if let problem = absent ?? TrainCipher.vectorProblem { throw Missing(description: problem) }
  }

  struct Missing: Error, CustomStringConvertible { let description: String }
}

/// Trains of random messages of given lengths back to back, each message under one of a hundred keys and a counter
/// drawn from all 64 bits.
final class CipherBench {
  static let keyCount = 100

  let text: UnsafeMutableRawBufferPointer
  /// What the ciphers work on, a copy of `text` to begin with.
  let work: UnsafeMutableRawBufferPointer
  let jobs: UnsafeMutableBufferPointer<CipherJob>
  private let keys: UnsafeMutablePointer<UInt8>

  init(lengths: some Collection<Int>, seed: UInt64) {
    var random = SeededRandom(seed: seed)
    let size = max(lengths.reduce(0) { $0 + $1 + 16 }, 1)
    text = .allocate(byteCount: size, alignment: 64)
    work = .allocate(byteCount: size, alignment: 64)
    jobs = .allocate(capacity: lengths.count)
    keys = .allocate(capacity: 32 * Self.keyCount)
    Self.fill(text, random.next())
    Self.fill(UnsafeMutableRawBufferPointer(start: keys, count: 32 * Self.keyCount), random.next())
    work.copyMemory(from: UnsafeRawBufferPointer(text))
    var offset = 0
    for (index, length) in lengths.enumerated() {
      let key = Int.random(in: 0..<Self.keyCount, using: &random)
      jobs.initializeElement(
        at: index,
        to: CipherJob(text: work.baseAddress! + offset, count: length, counter: random.next(), key: keys + 32 * key))
      offset += length + 16
    }
  }

  deinit {
    text.deallocate()
    work.deallocate()
    jobs.deallocate()
    keys.deallocate()
  }

  private static func fill(_ buffer: UnsafeMutableRawBufferPointer, _ seed: UInt64) {
    let seed = (0..<32).map { UInt8(truncatingIfNeeded: seed >> UInt64($0 % 8 * 8)) }
    randombytes_buf_deterministic(buffer.baseAddress!, buffer.count, seed)
  }

  /// The message's text as it was before it was sealed.
  func plain(_ job: CipherJob) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: text.baseAddress! + (job.text - work.baseAddress!), count: job.count)
  }

  func isPlain(_ job: CipherJob) -> Bool { memcmp(job.text, plain(job).baseAddress!, job.count) == 0 }
  func isZero(_ job: CipherJob) -> Bool { sodium_is_zero(job.text.assumingMemoryBound(to: UInt8.self), job.count) == 1 }

  /// Every message taken, and its text what it was: or the first of which that is not so.
  var firstNotOpened: Int? { jobs.firstIndex { !$0.isGenuine || !isPlain($0) } }
}
