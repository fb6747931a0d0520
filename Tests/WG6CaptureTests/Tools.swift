import Foundation
import Testing

/// Wireshark's programs, which judge what a capture is written as.
enum Tools {
  static func path(_ name: String) -> String? {
    ["/usr/bin", "/usr/local/bin"].map { "\($0)/\(name)" }.first { FileManager.default.isExecutableFile(atPath: $0) }
  }

  static let areThere = path("tshark") != nil && path("text2pcap") != nil && path("capinfos") != nil
  static let absence: Comment = "tshark, text2pcap and capinfos are not all installed"

  /// Runs a program on `input` in a file, whose name takes the place of `FILE`; returns what it printed.
  static func run(_ words: [String], on input: [UInt8]) throws -> String {
    let file = FileManager.default.temporaryDirectory.appendingPathComponent("wg6-capture-\(UUID().uuidString)")
    let output = file.appendingPathExtension("out")
    try Data(input).write(to: file)
    defer {
      try? FileManager.default.removeItem(at: file)
      try? FileManager.default.removeItem(at: output)
    }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: try #require(path(words[0])))
    process.arguments = words.dropFirst().map { $0 == "FILE" ? file.path : $0 == "OUT" ? output.path : $0 }
    var environment = ProcessInfo.processInfo.environment
    environment["TZ"] = "UTC"
    process.environment = environment
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = FileHandle.nullDevice
    try process.run()
    let printed = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    #expect(process.terminationStatus == 0, "\(words)")
    if words.contains("OUT") {
      return try run(
        [
          "tshark", "-r", "FILE", "-T", "fields", "-e", "frame.time_epoch", "-e", "ip.src", "-e", "ipv6.dst", "-e",
          "frame.len", "-e", "frame.packet_flags_direction", "-e", "udp.payload",
        ], on: Array(Data(contentsOf: output)))
    }
    return String(decoding: printed, as: UTF8.self)
  }
}

/// Packets of all kinds, by hand.
enum Samples {
  /// 10.0.0.1:1000 > 10.0.0.2:53, 4 bytes in UDP.
  static let udp: [UInt8] =
    [
      0x45, 0, 0, 32, 0, 1, 0, 0, 64, 17, 0x66, 0xCA, 10, 0, 0, 1, 10, 0, 0, 2, 0x03, 0xE8, 0, 53, 0, 12, 0, 0,
    ] + [0xDE, 0xAD, 0xBE, 0xEF]

  /// fd66::2 > fd66::1, an echo request, number 3 of 7, with 16 bytes.
  static let echo: [UInt8] =
    [0x60, 0, 0, 0, 0, 24, 58, 64] + address(2) + address(1) + [128, 0, 0, 0, 0, 7, 0, 3]
    + [UInt8](repeating: 0x61, count: 16)

  /// A SYN from [fd66::2]:40000 to [fd66::1]:443.
  static let syn: [UInt8] =
    [0x60, 0, 0, 0, 0, 20, 6, 64] + address(2) + address(1)
    + [0x9C, 0x40, 0x01, 0xBB, 0, 0, 0, 9, 0, 0, 0, 0, 0x50, 0x02, 1, 0, 0, 0, 0, 0]

  static func address(_ last: UInt8) -> [UInt8] { [0xFD, 0x66] + [UInt8](repeating: 0, count: 13) + [last] }
}
