import Foundation

extension Scenario {
  /// What `wg6 capture` and `wg6 keylog` write, judged by tcpdump on the interface and by Wireshark's programs.
  static let packetCapture = Scenario(
    "capture", "wg6 capture and wg6 keylog beside tcpdump and tshark, and a reader that stands still",
    needs: [
      .commandLine, .program("tshark", package: "tshark"), .program("text2pcap", package: "tshark"),
      .program("iperf3", package: "iperf3"),
    ]
  ) { lab in
    let tunnel = try Tunnel(in: lab)
    try tunnel.client.reach(Tunnel.serverOuter.v4)
    try CaptureTrial(lab, tunnel).play()
    try StalledReader(lab, tunnel).play()
    try EndingCaptures(lab, tunnel).play()
  }
}

/// Writes an address book in which the server is `gate` and the client `laptop`.
private func writeBook(_ lab: Lab, _ tunnel: Tunnel) throws -> String {
  let path = "\(lab.directory)/book"
  try Files.write("gate \(tunnel.serverKey)\nlaptop \(tunnel.clientKey)\n", to: path, mode: 0o600)
  return path
}

/// Pings captured in every form, and outside, encrypted.
private struct CaptureTrial {
  let lab: Lab
  let tunnel: Tunnel
  let book: String
  private let pings = "icmp or (icmp6 and (ip6[40] = 128 or ip6[40] = 129))"

  init(_ lab: Lab, _ tunnel: Tunnel) throws {
    self.lab = lab
    self.tunnel = tunnel
    book = try writeBook(lab, tunnel)
  }

  private func path(_ name: String) -> String { "\(lab.directory)/\(name)" }

  /// What tshark prints of a file.
  private func tshark(_ file: String, _ options: [String]) throws -> String {
    try tunnel.client.attempt(["tshark", "-r", file] + options, within: 60).orThrow().output
  }

  /// The packets of a file as rows of bytes, sorted: two threads write what goes and what comes, so the order of both together
  /// is not the device's.
  private func packets(_ file: String) throws -> [String] {
    try tshark(file, ["-x"]).components(separatedBy: "\n\n").filter { !$0.isEmpty }.sorted()
  }

  private func fields(_ file: String, _ names: String..., options: [String] = []) throws -> [[String]] {
    try tshark(file, ["-T", "fields", "-E", "aggregator=;"] + names.flatMap { ["-e", $0] } + options)
      .split(separator: "\n").map { $0.split(separator: "\t", omittingEmptySubsequences: false).map(String.init) }
  }

  func play() throws {
    let client = tunnel.client
    // Readable by all to begin with: a file that is written anew becomes its owner's alone.
    try Files.write("", to: path("inner.pcapng"), mode: 0o644)
    let keyLog = try Recorder("keylog", ["-w", path("keys")], on: client, book: book)
    let lines = try Recorder("capture", on: client, book: book)
    let dumps = try Recorder("capture", ["--hex"], on: client, book: book)
    let file = try Recorder("capture", ["-w", path("inner.pcapng"), "--with-keys"], on: client, book: book)
    let drops = try Recorder("capture", ["--drops", "--peer", "@laptop"], on: tunnel.server, book: book)
    let outer = try client.capture(on: "wan", "udp port \(Tunnel.port)", bytes: 65_535)
    let device = try client.capture(on: "wg0", pings, bytes: 65_535)
    try tunnel.establish()
    for (address, size) in [(Tunnel.serverInner.v4, 100), (Tunnel.serverInner.v6, 1300)] {
      _ = try client.floodPing(address, count: 20, "-s", "\(size)")
    }
    try lab.require(
      !tunnel.answers(from: client, Tunnel.serverInner.v4, "-I", foreignSource()),
      "a source that is not the client's own")
    for capture in [outer, device] { capture.stop() }
    let statuses = [lines, dumps, file, drops, keyLog].map { $0.stop() }
    try lab.require(statuses == [0, 0, 0, 0, 0], "each ends well at Ctrl-C", "\(statuses)")
    try lab.require(
      [lines, dumps, file].allSatisfy { $0.missed == 0 }, "none missed a packet",
      [lines, dumps, file].map(\.program.complaints).joined())

    // tcpdump sees the packets of the foreign source as well, which this end sends.
    let expected = try packets(device.path)
    let count = try fields(device.path, "frame.number").count
    try lab.require(count > 80, "tcpdump on the interface has \(count) packets")
    let inner = try fields(
      path("inner.pcapng"), "frame.interface_name", "frame.packet_flags_direction", "frame.comment", "ip.dst",
      "ipv6.dst")
    try lab.require(inner.count == count, "so has the capture", "\(inner.count)")
    try lab.require(try packets(path("inner.pcapng")) == expected, "byte for byte the same")
    try lab.require(
      inner.allSatisfy {
        $0[0] == "wg0" && $0[2] == "gate"
          && $0[1].hasSuffix([Tunnel.serverInner.v4, Tunnel.serverInner.v6].contains($0[3] + $0[4]) ? "2" : "1")
      }, "with interface, direction and the peer's name", "\(inner.prefix(3))")
    try requireLines(lines.lines, count)
    try requireDump(dumps.program.output, expected)
    try requireDrops(drops.lines)
    try requireDecryption(outer.path, device.path)
    try requireSecrets()
    try requireFilters()
  }

  private func foreignSource() throws -> String {
    try tunnel.client.ip("addr", "add", "10.66.0.66/24", "dev", "wg0")
    return "10.66.0.66"
  }

  private func requireLines(_ lines: [String], _ count: Int) throws {
    try lab.require(lines.count == count, "a line a packet", "\(lines.count)")
    try lab.require(
      lines.contains {
        $0.contains(" out gate         10.66.0.2 > 10.66.0.1 ICMP echo request id ") && $0.hasSuffix(", 128 bytes")
      }
        && lines.contains {
          $0.contains(" in  gate         fd66::1 > fd66::2 ICMPv6 echo reply id ") && $0.hasSuffix(", 1348 bytes")
        }, "that a person can read: '\(lines.last ?? "")'", lines.prefix(4).joined(separator: "\n"))
  }

  private func requireDump(_ text: String, _ expected: [String]) throws {
    try Files.write(text, to: path("dump.txt"), mode: 0o600)
    try tunnel.client.attempt(
      ["text2pcap", "-q", "-D", "-t", "%Y-%m-%d %H:%M:%S.%f", "-l", "101", path("dump.txt"), path("dump.pcapng")],
      environment: ["TZ": "UTC"]
    ).orThrow()
    try lab.require(try packets(path("dump.pcapng")) == expected, "text2pcap makes the same packets of the dump")
    let (ofDump, ofFile) = try (directions(path("dump.pcapng")), directions(path("inner.pcapng")))
    try lab.require(ofDump == ofFile, "and directions")
  }

  private func directions(_ file: String) throws -> [[String]] {
    try fields(file, "ip.dst", "ipv6.dst", "icmp.seq", "icmpv6.echo.sequence_number", "frame.packet_flags_direction")
      .sorted { $0.joined(separator: " ") < $1.joined(separator: " ") }
  }

  private func requireDrops(_ lines: [String]) throws {
    try lab.require(
      !lines.isEmpty
        && lines.allSatisfy {
          $0.contains(" in  laptop       10.66.0.66 > 10.66.0.1 ICMP echo request ")
            && $0.hasSuffix(": dropped, source not allowed")
        }, "the server shows what it dropped, and why: '\(lines.first ?? "")'", lines.joined(separator: "\n"))
  }

  /// The outer capture, opened with the key log, has the packets that passed the interface.
  private func requireDecryption(_ outer: String, _ device: String) throws {
    // The inner packet's fields come last.
    func pings(_ file: String, _ options: [String]) throws -> [String] {
      try fields(
        file, "icmp.type", "icmp.seq", "icmpv6.type", "icmpv6.echo.sequence_number", "data.data",
        options: ["-Y", "icmp or icmpv6"] + options
      ).map { $0.joined(separator: " ") }.sorted()
    }
    let closed = try pings(outer, [])
    try lab.require(closed.isEmpty, "without keys, tshark sees no ping in the outer capture", "\(closed.count)")
    let opened = try pings(outer, ["-o", "wg.keylog_file:\(path("keys"))"])
    let expected = try pings(device, [])
    try lab.require(
      opened == expected, "with the key log it sees the same \(expected.count) packets",
      "\(opened.count)")
    // A packet's capture with keys beside the outer one: the section brings them along.
    let secrets = try sections(path("inner.pcapng"))
    try Files.write(secrets.joined(), to: path("embedded"), mode: 0o600)
    try lab.require(
      try pings(outer, ["-o", "wg.keylog_file:\(path("embedded"))"]) == expected,
      "so it does with those in the pcapng file")
  }

  /// The key logs in the secrets blocks of a pcapng file.
  private func sections(_ file: String) throws -> [String] {
    let bytes = [UInt8](FileManager.default.contents(atPath: file) ?? Data())
    func word(_ at: Int) -> Int { (0..<4).reduce(0) { $0 | Int(bytes[at + $1]) << (8 * $1) } }
    var found: [String] = [], offset = 0
    while offset + 12 <= bytes.count {
      let length = word(offset + 4)
      if word(offset) == 10 {
        try lab.require(word(offset + 8) == 0x5747_4B4C, "a secrets block is WireGuard's")
        found.append(String(decoding: bytes[offset + 16..<offset + 16 + word(offset + 12)], as: UTF8.self))
      }
      guard length >= 12 else { break }
      offset += length
    }
    return found
  }

  private func requireSecrets() throws {
    let keys = Files.text(path("keys"))
    try lab.require(
      keys.hasPrefix("LOCAL_STATIC_PRIVATE_KEY = \(tunnel.clientNode.keys.privateKey)\n")
        && keys.contains("REMOTE_STATIC_PUBLIC_KEY = \(tunnel.serverKey)\n")
        && keys.contains("\nLOCAL_EPHEMERAL_PRIVATE_KEY = "), "the key log begins with the interface's own keys")
    for name in ["keys", "inner.pcapng"] {
      let mode = (try FileManager.default.attributesOfItem(atPath: path(name))[.posixPermissions] as? Int) ?? 0
      try lab.require(mode == 0o600, "\(name) is its owner's alone", String(mode, radix: 8))
    }
    let logged = [tunnel.clientNode, tunnel.serverNode].compactMap(\.daemon).map { $0.output + $0.complaints }.joined()
    try lab.require(
      !keys.split(separator: "\n").contains { logged.contains($0.suffix(44)) }, "no key is in a daemon's log")
  }

  private func requireFilters() throws {
    let wg6 = try Binaries.path(of: "wg6")
    func count(_ options: [String]) throws -> (status: Int32, lines: [String]) {
      let recorder = try Recorder("capture", options, on: tunnel.client, book: book)
      for address in [Tunnel.serverInner.v4, Tunnel.serverInner.v6] {
        _ = try tunnel.client.floodPing(address, count: 3)
      }
      let status = recorder.stop()
      return (status, recorder.lines)
    }
    for (options, expected) in [
      (["--peer", "@gate"], 12), (["--peer", "@laptop"], 0), (["--protocol", "icmpv6"], 6),
      (["--protocol", "ICMP", "--protocol", "58"], 12), (["--prefix", "fd66::1"], 6),
      (["--prefix", "10.66.0.0/16"], 6),
      (["--prefix", "10.66.0.1", "--protocol", "udp"], 0), (["--count", "5"], 5),
    ] {
      let found = try count(options)
      try lab.require(
        found.status == 0 && found.lines.count == expected,
        "\(options.joined(separator: " ")): \(expected) of 12 packets",
        "\(found)")
    }
    // A pipe's reader judges while it is written.
    let shell = "'\(wg6)' capture wg0 -w - -c 4 | tshark -r - -T fields -e frame.len"
    let piped = try tunnel.client.start(["sh", "-c", shell])
    try waitUntil("the capture has begun") { piped.complaints.contains("until Ctrl-C") || !piped.isRunning }
    _ = try tunnel.client.floodPing(Tunnel.serverInner.v4, count: 2)
    let lengths = try piped.wait(within: 20).lines
    try lab.require(lengths == ["84", "84", "84", "84"], "tshark reads from a pipe", "\(lengths)")
  }
}

/// Captures at full speed: one whose reader keeps up as well as it can, and one whose reader is stopped.
private struct StalledReader {
  let lab: Lab
  let tunnel: Tunnel
  let book: String

  init(_ lab: Lab, _ tunnel: Tunnel) throws {
    self.lab = lab
    self.tunnel = tunnel
    book = "\(lab.directory)/book"
  }

  private func rate() throws -> Double { try Throughput.measure(from: tunnel.client, to: Tunnel.serverInner.v4) }

  func play() throws {
    try Throughput.serve(on: tunnel.server)
    _ = try rate()
    let daemon = tunnel.clientNode.daemon!
    let before = Usage(of: daemon.pid)
    let pairs = Scenario.isLong ? 10 : 4
    var without: [Double] = [], with: [Double] = [], following: [Double] = []
    let reader = try Recorder("capture", ["-w", "/dev/null"], on: tunnel.client, book: book)
    reader.program.send(SIGSTOP)
    // Full from the first quarter of a second on.
    _ = try rate()
    let full = Usage(of: daemon.pid)
    reader.program.send(SIGCONT)
    try lab.require(
      reader.stop() == 0 && (reader.missed ?? 0) > 1000, "a stopped reader has missed \(reader.missed ?? 0) packets")
    for _ in 0..<pairs {
      without.append(try rate())
      let stalled = try Recorder("capture", ["-w", "/dev/null"], on: tunnel.client, book: book)
      stalled.program.send(SIGSTOP)
      with.append(try rate())
      stalled.program.send(SIGCONT)
      _ = stalled.stop()
      let followed = try Recorder("capture", ["-w", "/dev/null"], on: tunnel.client, book: book)
      following.append(try rate())
      _ = followed.stop()
      lab.say("  \(followed.program.complaints.split(separator: "\n").last ?? "")")
    }
    let after = Usage(of: daemon.pid)
    let rates = [without, with, following].map { $0.sorted()[$0.count / 2] }
    lab.say(
      "  Gbit/s, medians: \(rates.map { String(format: "%.2f", $0) }.joined(separator: ", ")) without, stopped reader, reader"
    )
    // The stream is all that the machine does: a copy that finds no room costs a look at the header.
    try lab.require(
      rates[1] > rates[0] * 0.7, "a full-speed stream goes on past a reader that stands still", "\(without) \(with)")
    let grown = full.residentKiB - before.residentKiB
    try lab.require(
      grown <= 10 * 1024, "the daemon has grown by \(grown) KiB, its capture's memory being 8,196", "\(grown)")
    let left = after.residentKiB - before.residentKiB
    try lab.require(
      left <= 2048, "and has \(left) KiB more than before once \(2 * pairs + 1) captures have ended", "\(left)")
  }
}

/// Ends of readers and of the daemon.
private struct EndingCaptures {
  let lab: Lab
  let tunnel: Tunnel
  let book: String

  init(_ lab: Lab, _ tunnel: Tunnel) throws {
    self.lab = lab
    self.tunnel = tunnel
    book = "\(lab.directory)/book"
  }

  func play() throws {
    let client = tunnel.client
    var readers = try (0..<4).map { _ in try Recorder("capture", on: client, book: book) }
    let fifth = try Recorder("capture", on: client, book: book)
    let refused = try fifth.program.wait(within: 10)
    try lab.require(
      refused.status == 1 && refused.complaints.contains("wg0: there are 4 captures already"),
      "four captures at once, no more",
      refused.complaints)
    readers[0].program.stop(SIGKILL)
    readers[1].program.stop(SIGKILL)
    try waitUntil("a killed reader's place is free", within: 10) {
      let next = try Recorder("capture", on: client, book: book)
      if next.program.isRunning { readers.append(next) }
      return next.program.isRunning
    }
    try lab.require(try tunnel.answers(from: client, Tunnel.serverInner.v4), "traffic goes on when readers are killed")
    let keyLog = try Recorder("keylog", on: client, book: book)
    tunnel.clientNode.daemon!.stop(SIGTERM)
    for reader in readers.dropFirst(2) {
      let end = try reader.program.wait(within: 10)
      try lab.require(
        end.status == 1 && end.complaints.contains("wg0: the daemon has ended, and the capture with it: "),
        "the daemon's end ends a capture, and says so", "\(end)")
    }
    let end = try keyLog.program.wait(within: 10)
    try lab.require(end.status == 1 && end.complaints.contains("wg0: the daemon has ended"), "and a key log", "\(end)")
  }
}
