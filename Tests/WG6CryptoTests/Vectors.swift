import Foundation
import WG6Crypto

/// Published vectors: read from `WG6_VECTORS`, or from `shared/vectors` beside the checkout; never committed.
enum Vectors {
  static let folder: URL? = {
    let candidates =
      ProcessInfo.processInfo.environment["WG6_VECTORS"].map { [URL(fileURLWithPath: $0)] }
      ?? [
        URL(fileURLWithPath: #filePath).appending(path: "../../../../shared/vectors").standardizedFileURL
      ]
    return candidates.first { FileManager.default.fileExists(atPath: $0.appending(path: "blake2s-kat.json").path) }
  }()

  /// Why vector tests are skipped where they are.
  static let absence: String = "no published vectors: set WG6_VECTORS to their folder (the RFCs' own values still run)"

  static var present: Bool {
    if folder == nil { print("SKIPPED: \(absence)") }
    return folder != nil
  }

  static func load<Value: Decodable>(_ name: String, as type: Value.Type) throws -> Value {
    try JSONDecoder().decode(type, from: Data(contentsOf: folder!.appending(path: name)))
  }
}

/// Project Wycheproof's file format, as far as it is used here.
struct Wycheproof<Test: Decodable>: Decodable {
  struct Group: Decodable {
    let tests: [Test]
    let ivSize: Int?
    let tagSize: Int?
    let keySize: Int?
  }
  let testGroups: [Group]
}

/// The bytes that hexadecimal text spells.
func bytes(hex: String) -> [UInt8] {
  precondition(hex.utf8.count % 2 == 0)
  var result: [UInt8] = []
  var digits = hex.utf8.makeIterator()
  while let high = digits.next(), let low = digits.next() {
    result.append(UInt8(String(UnicodeScalar(high)) + String(UnicodeScalar(low)), radix: 16)!)
  }
  return result
}

func hex(_ bytes: some Sequence<UInt8>) -> String {
  bytes.map { String(format: "%02x", $0) }.joined()
}

extension PrivateKey {
  convenience init(hex: String) {
    self.init(bytes: WG6CryptoTests.bytes(hex: hex).span.bytes)!
  }
}

extension PublicKey {
  init(hex: String) {
    self.init(bytes: WG6CryptoTests.bytes(hex: hex).span.bytes)!
  }
}
