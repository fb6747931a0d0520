import CSodium
import CVectorCrypto

/// One data message's packet, to be sealed or opened where it is.
///
/// Laid out as `struct vector_job` of CVectorCrypto, which reads and writes it. The pointers are whoever's who fills it
/// in, and need to be good for as long as the call takes.
@safe package struct CipherJob {
  /// `count` bytes of text, and room for the tag's 16 behind them.
  package var text: UnsafeMutableRawPointer
  /// The text's bytes, without the tag.
  package var count: Int
  /// WireGuard's nonce: four zero bytes and this, little-endian.
  package var counter: UInt64
  /// 32 bytes.
  package var key: UnsafePointer<UInt8>
  /// What `TrainCipher.open` found out.
  package var isGenuine = false

  @unsafe package init(text: UnsafeMutableRawPointer, count: Int, counter: UInt64, key: UnsafePointer<UInt8>) {
    unsafe (self.text, self.count, self.counter, self.key) = (text, count, counter, key)
  }
}

/// ChaCha20-Poly1305 for the data path: a train of messages a call, each in place, without associated data.
///
/// One thread's own. Nothing is allocated but by `init`.
@safe public struct TrainCipher: ~Copyable {
  public enum Kind: CaseIterable, Sendable {
    /// Intel's ipsec-mb, the wide registers of x86-64: four times as fast.
    case vector
    /// libsodium, which runs everywhere.
    case sodium
  }

  /// `nil` where the vector cipher can be used, or else why it can't, in one line for people.
  ///
  /// The first use loads the library and has it tried against libsodium on this very CPU, which takes a few milliseconds.
  public static let vectorProblem: String? = unsafe CipherTrial.problem(ofLibrary: nil)

  /// SAFETY: made by `vector_cipher_make` and freed once, by `deinit`; `nil` where libsodium does the work.
  private let vector: OpaquePointer?

  public var kind: Kind { unsafe vector == nil ? .sodium : .vector }

  /// - Parameter kind: `nil` for the best that this machine has. Precondition for `.vector`: no `vectorProblem`.
  public init(_ kind: Kind? = nil) {
    precondition(kind != .vector || Self.vectorProblem == nil)
    let isVector = kind != .sodium && Self.vectorProblem == nil
    unsafe vector = isVector ? vector_cipher_make() : nil
  }

  deinit {
    if let vector = unsafe vector { unsafe vector_cipher_free(vector) }
  }

  /// Seals each text and puts its tag behind it. Keys may differ from job to job.
  package func seal(_ jobs: UnsafeMutableBufferPointer<CipherJob>) {
    guard let start = jobs.baseAddress else { return }
    if let vector = unsafe vector {
      unsafe vector_seal_train(vector, Self.raw(start), jobs.count)
      return
    }
    for index in jobs.indices {
      let job = unsafe jobs[index]
      unsafe ChaCha20Poly1305.sealInPlace(job.text, count: job.count, counter: job.counter, key: job.key)
    }
    Self.wipeStack()
  }

  /// Opens each text and sets `isGenuine`. Where that is false the text is zeroed, whichever cipher it was.
  package func open(_ jobs: UnsafeMutableBufferPointer<CipherJob>) {
    guard let start = jobs.baseAddress else { return }
    if let vector = unsafe vector {
      unsafe vector_open_train(vector, Self.raw(start), jobs.count)
      return
    }
    for index in jobs.indices {
      let job = unsafe jobs[index]
      unsafe jobs[index].isGenuine = ChaCha20Poly1305.openInPlace(
        job.text, count: job.count + ChaCha20Poly1305.tagLength, counter: job.counter, key: job.key)
    }
    Self.wipeStack()
  }

  /// SAFETY: the layouts are the same (`CipherLayoutTests`).
  static func raw(_ jobs: UnsafeMutablePointer<CipherJob>) -> UnsafeMutablePointer<vector_job> {
    unsafe UnsafeMutableRawPointer(jobs).assumingMemoryBound(to: vector_job.self)
  }

  /// libsodium's ChaCha20 for AVX2 leaves the key on the stack, up to 2 KiB down; ipsec-mb leaves nothing there. About 60 ns.
  private static func wipeStack() {
    sodium_stackzero(4096)
  }
}
