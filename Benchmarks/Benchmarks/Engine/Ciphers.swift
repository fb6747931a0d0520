import Benchmark

@testable import WG6Crypto

/// Sealing and opening, by length and cipher: whole trains, as the data path does, and a lone packet.
func benchmarkCiphers() {
  for kind in TrainCipher.Kind.allCases where kind == .sodium || TrainCipher.vectorProblem == nil {
    for (length, count) in [(64, 50), (512, 50), (1420, 40), (9000, 5), (65_000, 1), (64, 1), (1420, 1)] {
      let name = "\(length) bytes, train of \(count), \(kind)"
      Benchmark.measure("seal \(name)", of: { SealedTrain(kind, length, count) }) { train, operations in
        for _ in 0..<operations / count { train.cipher.seal(train.jobs) }
      }
      Benchmark.measure("copy and open \(name)", of: { SealedTrain(kind, length, count) }) { train, operations in
        for _ in 0..<operations / count {
          train.restore()
          train.cipher.open(train.jobs)
        }
        precondition(train.jobs.allSatisfy(\.isGenuine))
      }
    }
  }
}

/// Messages back to back, as they were sealed once: opening works in place, and each time begins with a copy.
private final class SealedTrain {
  let cipher: TrainCipher
  let jobs: UnsafeMutableBufferPointer<CipherJob>
  private let messages: UnsafeMutableRawBufferPointer
  private let sealed: [UInt8]
  private let key = UnsafeMutablePointer<UInt8>.allocate(capacity: 32)

  init(_ kind: TrainCipher.Kind, _ length: Int, _ count: Int) {
    cipher = TrainCipher(kind)
    key.initialize(repeating: 7, count: 32)
    let stride = (length + ChaCha20Poly1305.tagLength + 15) / 16 * 16
    messages = .allocate(byteCount: stride * count, alignment: 64)
    messages.initializeMemory(as: UInt8.self, repeating: 1)
    jobs = .allocate(capacity: count)
    for index in 0..<count {
      (jobs.baseAddress! + index).initialize(
        to: CipherJob(
          text: messages.baseAddress! + index * stride, count: length, counter: UInt64(index), key: key))
    }
    cipher.seal(jobs)
    sealed = Array(messages)
  }

  deinit {
    jobs.deallocate()
    messages.deallocate()
    key.deallocate()
  }

  func restore() { messages.copyBytes(from: sealed) }
}
