import CSodium
import CVectorCrypto

/// What a train cipher has to show before it may be used: that it computes what libsodium does, on this CPU, for lengths
/// at the edges of every block and register, and that it takes no message that was changed.
@safe package struct CipherTrial: ~Copyable {
  package typealias Train = UnsafeMutableBufferPointer<CipherJob>

  package static let lengths = [
    0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 191, 192, 193, 255, 256, 257, 447, 448, 449, 511, 512, 513,
    959, 960, 961, 1023, 1024, 1025, 1279, 1280, 1420, 1424, 1983, 1984, 1985, 2049, 4096, 65535,
  ]

  /// SAFETY: all three are as long as the lengths and their tags together, and deallocated by `deinit`, as are the jobs
  /// and the keys.
  private let texts: UnsafeMutableRawBufferPointer
  private let expected: UnsafeMutableRawBufferPointer
  private let work: UnsafeMutableRawBufferPointer
  private let jobs: Train
  private let keys: UnsafeMutablePointer<UInt8>

  /// Why the library can't be used, or `nil` where it can. Precondition: `prepareCryptography` was called.
  package static func problem(ofLibrary name: UnsafePointer<CChar>?) -> String? {
    if let problem = unsafe vector_load(name) { return unsafe String(cString: problem) }
    guard let cipher = unsafe vector_cipher_make() else { return "ipsec-mb refuses to work on this processor" }
    defer { unsafe vector_cipher_free(cipher) }
    return unsafe CipherTrial().problem(
      sealing: { unsafe vector_seal_train(cipher, TrainCipher.raw($0.baseAddress!), $0.count) },
      opening: { unsafe vector_open_train(cipher, TrainCipher.raw($0.baseAddress!), $0.count) })
  }

  /// What went wrong in a trial of these two, or `nil`.
  package func problem(sealing seal: (Train) -> Void, opening open: (Train) -> Void) -> String? {
    unsafe copy(texts, to: work)
    unsafe seal(jobs)
    guard unsafe sodium_memcmp(work.baseAddress!, expected.baseAddress!, work.count) == 0 else {
      return "ipsec-mb does not seal as libsodium does on this processor"
    }
    unsafe open(jobs)
    for index in unsafe jobs.indices {
      let job = unsafe jobs[index]
      let text = unsafe texts.baseAddress! + (job.text - work.baseAddress!)
      guard job.isGenuine, unsafe sodium_memcmp(job.text, text, job.count) == 0 else {
        return "ipsec-mb does not open what libsodium sealed on this processor"
      }
    }
    // With one bit changed: in the text's first, middle or last byte, and in each of the tag's. All lengths, but of the
    // two longest, which take the time of all others together, a byte of the tag does.
    let shorter = unsafe Train(rebasing: jobs.dropLast(2))
    for place in -3..<ChaCha20Poly1305.tagLength
    where unsafe !refusesChanges(to: place > 0 ? shorter : jobs, at: place, opening: open) {
      return "ipsec-mb takes messages that were changed on this processor"
    }
    return nil
  }

  /// Whether no message with one bit changed is taken, and nothing of it is left. Where: from 0 on a byte of the tag,
  /// before that the text's last, middle and first.
  private func refusesChanges(to jobs: Train, at place: Int, opening open: (Train) -> Void) -> Bool {
    unsafe copy(expected, to: work)
    for index in jobs.indices {
      let job = unsafe jobs[index]
      let offset = place >= 0 ? job.count + place : [0, job.count / 2, max(job.count - 1, 0)][place + 3]
      unsafe job.text.assumingMemoryBound(to: UInt8.self)[offset] ^= 1 << UInt8((index + place + 3) % 8)
      unsafe jobs[index].isGenuine = true
    }
    unsafe open(jobs)
    return jobs.indices.allSatisfy {
      let job = unsafe jobs[$0]
      return unsafe !job.isGenuine && sodium_is_zero(job.text.assumingMemoryBound(to: UInt8.self), job.count) == 1
    }
  }

  /// Texts, keys and counters that are the same each time, sealed by libsodium.
  package init() {
    let size = Self.lengths.reduce(0) { $0 + $1 + ChaCha20Poly1305.tagLength }
    unsafe texts = .allocate(byteCount: size, alignment: 16)
    unsafe expected = .allocate(byteCount: size, alignment: 16)
    unsafe work = .allocate(byteCount: size, alignment: 16)
    unsafe keys = .allocate(capacity: 64)
    unsafe jobs = .allocate(capacity: Self.lengths.count)
    let seed = [UInt8](repeating: 6, count: Int(randombytes_SEEDBYTES))
    unsafe randombytes_buf_deterministic(texts.baseAddress!, size, seed)
    unsafe randombytes_buf_deterministic(keys, 64, [UInt8](repeating: 7, count: seed.count))
    unsafe copy(texts, to: expected)
    var offset = 0
    for (index, length) in Self.lengths.enumerated() {
      // Low and high words of the counter differ, and two keys take turns.
      let job = unsafe CipherJob(
        text: work.baseAddress! + offset, count: length, counter: UInt64(index) << 32 | UInt64(length),
        key: keys + index % 2 * 32)
      unsafe jobs.initializeElement(at: index, to: job)
      unsafe ChaCha20Poly1305.sealInPlace(
        expected.baseAddress! + offset, count: length, counter: job.counter, key: job.key)
      offset += length + ChaCha20Poly1305.tagLength
    }
  }

  deinit {
    unsafe texts.deallocate()
    unsafe expected.deallocate()
    unsafe work.deallocate()
    unsafe keys.deallocate()
    unsafe jobs.deallocate()
  }

  private func copy(_ source: UnsafeMutableRawBufferPointer, to target: UnsafeMutableRawBufferPointer) {
    unsafe target.copyMemory(from: UnsafeRawBufferPointer(source))
  }
}
