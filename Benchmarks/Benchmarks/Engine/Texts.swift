import Benchmark

@testable import WG6Crypto

/// Keys as text, in constant time.
func benchmarkTexts() {
  Benchmark.measure("base64 of a key, encoded", of: { [UInt8](1...32) }) { key, operations in
    for _ in 0..<operations { KeyBase64.encode(key.span.bytes) { blackHole($0) } }
  }
  Benchmark.measure("base64 of a key, decoded", of: { Array("\(String(repeating: "q", count: 42))A=".utf8) }) {
    text, operations in
    for _ in 0..<operations { precondition(KeyBase64.decode(text.span.bytes) { $0.byteCount } == 32) }
  }
}
