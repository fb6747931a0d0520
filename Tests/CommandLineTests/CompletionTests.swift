import Foundation
import Testing

/// The completion that is installed, asked by the shells themselves for what they would offer.
@Suite(.serialized, .enabled(if: Programs.canUseShells, Programs.shellsAbsence))
struct `Completion in the shells` {
  enum Shell: String, CaseIterable {
    case bash, zsh, fish
  }

  @Test(arguments: Shell.allCases)
  func `offers tunnels, interfaces, fields, peers and files where they fit`(shell: Shell) throws {
    let machine = try Machine()
    let own = machine.space.interface
    let fields = DeviceFields.all + ["drops"]
    let ofPeer = ["remove", "preshared-key", "endpoint", "persistent-keepalive", "allowed-ips", "peer"]
    let files = ["a.key", "b.conf", "folder"]
    // Exactly these.
    var expected: [(line: String, words: [String])] = [
      ("wg6 up ", ["home", "office"]), ("wg6 up -v ", ["home", "office"]), ("wg6 up h", ["home"]),
      ("wg6 up ./", ["b.conf", "folder"]), ("wg6 check ./", ["b.conf", "folder"]),
      ("wg6 check ", ["home", "office", own]),
      ("wg6 up --no-h", ["--no-hooks"]), ("wg6 show \(own) ", fields), ("wg6 show interfaces ", []),
      ("wg6 set \(own) ", ["listen-port", "fwmark", "private-key", "peer"]),
      ("wg6 set \(own) listen-port 5 ", ["fwmark", "private-key", "peer"]),
      ("wg6 set \(own) peer ", machine.peers + ["@laptop"]), ("wg6 set \(own) peer @l", ["@laptop"]),
      ("wg6 set \(own) peer \(machine.peers[0]) ", ofPeer),
      ("wg6 set \(own) peer @laptop remove ", Array(ofPeer.dropFirst())),
      ("wg6 set \(own) peer @laptop remove peer @l", ["@laptop"]),
      ("wg6 set \(own) private-key ", files), ("wg6 set \(own) peer @laptop preshared-key a", ["a.key"]),
      ("wg6 setconf \(own) ", files), ("wg6 addconf \(own) ", files), ("wg6 syncconf \(own) ", files),
      ("wg6 capture \(own) --peer @l", ["@laptop"]), ("wg6 capture \(own) -w ", files),
      ("wg6 capture \(own) --protocol ud", ["udp"]), ("wg6 keylog \(own) -w ", files),
      ("wg6 exec \(own) -- wg6", ["wg6"]), ("wg6 exec \(own) -- cat ", files), ("wg6 exec --user roo", ["root"]),
      ("wg6 address ", ["laptop", "home", "office", own]), ("wg6 address l", ["laptop"]),
    ]
    for command in ["routes", "strip", "export"] { expected.append(("wg6 \(command) ", ["home", "office", own])) }
    let answers = try machine.ask(shell, expected.map(\.line))
    for (line, words) in expected {
      let answer = answers[line]?.map(\.word)
      #expect(answer.map(Set.init) == Set(words), "\(line): \(answer ?? [])")
    }
    // Other tests' interfaces are here as well.
    let open = [
      "down", "reload", "save", "exec", "log", "showconf", "set", "setconf", "addconf", "syncconf", "show", "capture",
      "keylog",
    ]
    let more = try machine.ask(shell, open.map { "wg6 \($0) " } + ["wg6 "])
    for command in open {
      let answer = (more["wg6 \(command) "] ?? []).map(\.word)
      #expect(answer.contains(own) && !answer.contains("home") && !answer.contains("a.key"), "\(command): \(answer)")
      #expect((command == "show") == answer.contains("interfaces"))
    }
    #expect(Set(open + ["up", "check", "log"]).isSubset(of: (more["wg6 "] ?? []).map(\.word)))
  }

  @Test func `fish shows a peer's name beside its key`() throws {
    let machine = try Machine()
    let line = "wg6 set \(machine.space.interface) peer "
    let answer = try machine.ask(.fish, [line])[line] ?? []
    #expect(answer.contains { $0.word == machine.peers[0] && $0.note == "laptop" }, "\(answer)")
    #expect(answer.contains { $0.word == "@laptop" && $0.note == "Anna's" }, "\(answer)")
  }

  @Test func `zsh gets a peer's name with its key`() throws {
    let machine = try Machine()
    let words = ["wg6", "set", machine.space.interface, "peer", ""]
    let outcome = try run(
      Programs.wg6, ["---completion", "set", "--", "positional@0", "4", "0"] + words,
      environment: ["SAP_SHELL": "zsh", "WG6_KEYS": machine.book])
    #expect(outcome.output.contains("\(machine.peers[0]):laptop\n"), "\(outcome)")
  }

  /// What a Tab makes of a line: bash cuts words at `@`, `:` and `=`, which only a line that was typed shows.
  @Test func `a Tab in bash completes what was typed`() throws {
    let machine = try Machine()
    let own = machine.space.interface
    let key = machine.peers[0]
    let typed = [
      "wg6 up h": "wg6 up home", "wg6 set \(own) peer @la": "wg6 set \(own) peer @laptop",
      "wg6 set \(own) peer @laptop rem": "wg6 set \(own) peer @laptop remove",
      "wg6 set \(own) peer \(key.prefix(20))": "wg6 set \(own) peer \(key)",
      "wg6 set \(own) peer \(key) pers": "wg6 set \(own) peer \(key) persistent-keepalive",
      "wg6 set \(own) peer \(key) endpoint [::1]:5 pers":
        "wg6 set \(own) peer \(key) endpoint [::1]:5 persistent-keepalive",
      "wg6 check ./b": "wg6 check ./b.conf", "wg6 setconf \(own) a": "wg6 setconf \(own) a.key",
    ]
    let results = try machine.type(Array(typed.keys))
    for (line, whole) in typed { #expect(results[line] == whole, "\(line)") }
  }
}

/// A machine with files in `/etc/wireguard`, an address book, an interface with two peers, and files in the directory.
private final class Machine {
  let space = try! Namespace()
  let peers: [String]
  let book: String
  private let folder: String
  private let drivers = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Shells")
    .path

  init() throws {
    folder = space.directory.path
    for directory in ["etc", "bin", "here/folder"] {
      try FileManager.default.createDirectory(atPath: "\(folder)/\(directory)", withIntermediateDirectories: true)
    }
    for name in ["home", "office", space.interface] { _ = try space.file("etc/\(name).conf", "") }
    _ = try space.file("etc/notes.txt", "")
    for name in ["a.key", "b.conf"] { _ = try space.file("here/\(name)", "") }
    try FileManager.default.createSymbolicLink(atPath: "\(folder)/bin/wg6", withDestinationPath: Programs.wg6)
    peers = try (0..<2).map { _ in try keyPair().public }
    book = try space.file("book", "laptop \(peers[0]) Anna's\n")
    try space.require(space.wg6(["set", space.interface] + peers.flatMap { ["peer", $0] }))
    for shell in `Completion in the shells`.Shell.allCases {
      let script = try run(Programs.wg6, ["--generate-completion-script", shell.rawValue])
      try #require(script.status == 0)
      _ = try space.file("wg6.\(shell.rawValue)", script.output)
    }
  }

  /// What the shell offers for each line.
  func ask(
    _ shell: `Completion in the shells`.Shell, _ lines: [String]
  ) throws -> [String: [(word: String, note: String)]] {
    var answers: [String: [(word: String, note: String)]] = [:]
    for line in try drive(shell.rawValue, "offers.\(shell.rawValue)", lines) {
      let parts = line.split(separator: "\u{1}", omittingEmptySubsequences: false).map(String.init)
      try #require(parts.count == 2, "\(line)")
      if answers[parts[0]] == nil { answers[parts[0]] = [] }
      let columns = parts[1].split(separator: "\t", maxSplits: 1).map(String.init)
      guard var word = columns.first else { continue }
      // Shells differ in whether a directory has its slash already, and the path its beginning.
      if word.hasPrefix("./") { word.removeFirst(2) }
      if word.hasSuffix("/") { word.removeLast() }
      answers[parts[0]]!.append((word, columns.count > 1 ? columns[1] : ""))
    }
    return answers
  }

  /// What stands on bash's line after each of `lines` and a Tab.
  func type(_ lines: [String]) throws -> [String: String] {
    var results: [String: String] = [:]
    for line in try drive("zsh", "type-in-bash.zsh", lines) {
      let parts = line.split(separator: "\u{1}", omittingEmptySubsequences: false).map(String.init)
      try #require(parts.count == 2, "\(line)")
      results[parts[0]] = parts[1].trimmingCharacters(in: .whitespaces)
    }
    return results
  }

  private func drive(_ shell: String, _ driver: String, _ lines: [String]) throws -> [String] {
    let program = ["bash": Programs.bash, "zsh": Programs.zsh, "fish": Programs.fish][shell]!!
    let options = ["bash": "--norc", "zsh": "-f", "fish": "--no-config"][shell]!
    let script = """
      mount --bind "\(folder)/etc" /etc/wireguard && cd "\(folder)/here" && exec "$@"
      """
    let outcome = try run(
      Programs.unshare!,
      ["-m", Programs.bash!, "-c", script, "bash", program, options, "\(drivers)/\(driver)", folder] + lines,
      environment: [
        "WG6_KEYS": book, "PATH": "\(folder)/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM": "dumb", "HOME": folder,
      ])
    try #require(outcome.status == 0, "\(outcome)")
    return outcome.output.split(separator: "\n").map(String.init)
  }
}

enum DeviceFields {
  static let all = [
    "public-key", "private-key", "listen-port", "fwmark", "peers", "preshared-keys", "endpoints", "allowed-ips",
    "latest-handshakes", "transfer", "persistent-keepalive", "dump",
  ]
}
