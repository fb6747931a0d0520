import Foundation
import WG6Crypto

/// Published vectors: read from `WG6_VECTORS`, or from `shared/vectors` beside the checkout; never committed.
public enum Vectors {
  public static let folder: URL? = {
    let candidates =
      ProcessInfo.processInfo.environment["WG6_VECTORS"].map { [URL(fileURLWithPath: $0)] }
      ?? [
        URL(fileURLWithPath: #filePath).appending(path: "../../../../shared/vectors").standardizedFileURL
      ]
    return candidates.first { FileManager.default.fileExists(atPath: $0.appending(path: "blake2s-kat.json").path) }
  }()

  /// Why vector tests are skipped where they are.
  public static let absence: String =
    "no published vectors: set WG6_VECTORS to their folder (the RFCs' own values still run)"

  public static var present: Bool {
    if folder == nil { print("SKIPPED: \(absence)") }
    return folder != nil
  }

  public static func load<Value: Decodable>(_ name: String, as type: Value.Type) throws -> Value {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    return try decoder.decode(type, from: Data(contentsOf: folder!.appending(path: name)))
  }
}

/// Project Wycheproof's file format, as far as it is used here.
public struct Wycheproof<Test: Decodable>: Decodable {
  public struct Group: Decodable {
    public let tests: [Test]
  }
  public let testGroups: [Group]
}

/// The bytes that hexadecimal text spells.
public func bytes(hex: String) -> [UInt8] {
  precondition(hex.utf8.count % 2 == 0)
  var result: [UInt8] = []
  var digits = hex.utf8.makeIterator()
  while let high = digits.next(), let low = digits.next() {
    result.append(UInt8(String(UnicodeScalar(high)) + String(UnicodeScalar(low)), radix: 16)!)
  }
  return result
}

public func hex(_ bytes: some Sequence<UInt8>) -> String {
  bytes.map { String(format: "%02x", $0) }.joined()
}

extension PrivateKey {
  public convenience init(hex: String) {
    self.init(bytes: TestVectors.bytes(hex: hex).span.bytes)!
  }
}

extension PublicKey {
  public init(hex: String) {
    self.init(bytes: TestVectors.bytes(hex: hex).span.bytes)!
  }
}

public func hex(_ digest: InlineArray<32, UInt8>) -> String {
  hex(digest.indices.map { digest[$0] })
}

extension RawSpan {
  public var array: [UInt8] { (0..<byteCount).map { unsafeLoad(fromByteOffset: $0, as: UInt8.self) } }
}
