import CSodium

/// One message's packet, to be sealed or opened where it is.
@safe package struct CipherJob {
  package var text: UnsafeMutableRawPointer
  package var count: Int
  package var counter: UInt64
  package var key: UnsafePointer<UInt8>
  package var isGenuine = false

  package init(text: UnsafeMutableRawPointer, count: Int, counter: UInt64 = 0, key: UnsafePointer<UInt8>) {
    unsafe self.text = text
    self.count = count
    self.counter = counter
    unsafe self.key = key
  }
}

public struct TrainCipher: ~Copyable {
  public enum Kind: Sendable { case vector, sodium }
  public let kind: Kind

  public init(_ kind: Kind? = nil) { self.kind = .sodium }

  package func seal(_ jobs: UnsafeMutableBufferPointer<CipherJob>) {
    for index in jobs.indices {
      let job = unsafe jobs[index]
      unsafe ChaCha20Poly1305.sealInPlace(job.text, count: job.count, counter: job.counter, key: job.key)
    }
  }

  package func open(_ jobs: UnsafeMutableBufferPointer<CipherJob>) {
    for index in jobs.indices {
      let job = unsafe jobs[index]
      unsafe jobs[index].isGenuine = ChaCha20Poly1305.openInPlace(
        job.text, count: job.count + 16, counter: job.counter, key: job.key)
    }
  }
}
