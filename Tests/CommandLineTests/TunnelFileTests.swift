import Foundation
import Testing

/// What becomes of a tunnel's file, and of what it says, while the tunnel is up.
@Suite(.serialized, .enabled(if: Programs.canCompareDevices, Programs.devicesAbsence))
struct `Files of tunnels that are up` {
  @Test func `save writes through a link, and a name stands for the file that up read`() throws {
    let space = try Namespace(device: false)
    let target = try configuration(space, "MTU = 1380", named: "target")
    let link = "\(space.directory.path)/\(space.interface).conf"
    try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: target)
    try space.require(space.wg6(["up", link]))
    // Somebody else's file where the draft goes gets no keys.
    let trap = try space.file("target.conf.tmp", "")
    let trapped = try FileHandle(forReadingFrom: URL(fileURLWithPath: trap))
    for (file, mtu) in [(link, "1400"), (space.interface, "1410")] {
      try space.require(space.ip("link", "set", space.interface, "mtu", mtu))
      try space.require(space.wg6(["save", file]))
      #expect(try FileManager.default.destinationOfSymbolicLink(atPath: link) == target)
      #expect(try String(contentsOfFile: target, encoding: .utf8).contains("MTU = \(mtu)\n"))
    }
    #expect(try trapped.readToEnd()?.isEmpty ?? true)
    let mode = try FileManager.default.attributesOfItem(atPath: target)[.posixPermissions] as? Int
    #expect(mode == 0o600)
    try space.require(space.wg6(["down", space.interface]))
  }

  @Test func `a tunnel that came up without the file's commands keeps to it`() throws {
    let space = try Namespace(device: false)
    let trace = "\(space.directory.path)/trace"
    let file = try configuration(space, "PostUp = touch \(trace)\nPreDown = touch \(trace)\nPostDown = touch \(trace)")
    try space.require(space.wg6(["up", "--no-hooks", file]))
    try space.require(space.wg6(["reload", file]))
    try space.require(space.wg6(["down", file]))
    #expect(!FileManager.default.fileExists(atPath: trace))
  }

  @Test func `commands are run from files that only root could have written`() throws {
    let space = try Namespace(device: false)
    let trace = "\(space.directory.path)/trace"
    let manager = FileManager.default
    func attempt(_ file: String) throws -> Outcome {
      let outcome = try space.wg6(["up", file])
      if outcome.status == 0 { try space.require(space.wg6(["down", file])) }
      return outcome
    }
    func place(_ name: String, _ mode: Int, owner: Int = 0) throws -> String {
      let directory = "\(space.directory.path)/\(name)"
      try manager.createDirectory(atPath: directory, withIntermediateDirectories: true)
      let file = try configuration(space, "PostUp = touch \(trace)", named: "\(name)/\(space.interface)")
      try manager.setAttributes(
        [.posixPermissions: mode, .ownerAccountID: owner, .groupOwnerAccountID: owner], ofItemAtPath: directory)
      return file
    }
    let good = try place("good", 0o700)
    for (name, mode, owner) in [("open", 0o777, 0), ("group", 0o770, 0), ("theirs", 0o700, 65534)] {
      let refused = try attempt(place(name, mode, owner: owner))
      #expect(refused.status == 1 && refused.errors.contains("--no-hooks"), "\(name): \(refused.errors)")
      // A link to it from a good place is as bad.
      let link = "\(space.directory.path)/\(space.interface).conf"
      try? manager.removeItem(atPath: link)
      try manager.createSymbolicLink(atPath: link, withDestinationPath: "\(name)/\(space.interface).conf")
      #expect(try attempt(link).status == 1)
    }
    #expect(!manager.fileExists(atPath: trace))
    try space.require(attempt(place("sticky", 0o1777)))
    // Where the link lies is no matter: it is its goal that is read and looked at.
    let link = try place("linked", 0o777)
    try manager.removeItem(atPath: link)
    try manager.createSymbolicLink(atPath: link, withDestinationPath: good)
    try space.require(attempt(link))
    #expect(manager.fileExists(atPath: trace))
  }

  @Test func `commands speak the language that wg-quick's do, and what comes after them has the caller's`() throws {
    let space = try Namespace(device: false)
    let lines = ["PreUp", "PostUp", "PreDown", "PostDown"].map {
      "\($0) = echo \($0) $LC_ALL $HAVE_SET_DNS $HAVE_SET_FIREWALL"
    }.joined(separator: "\n")
    for (language, allowedIPs, hasFirewall) in [("tlh_KX", "10.8.0.0/16", 0), ("", "0.0.0.0/0", 1)] {
      let file = try configuration(space, lines, allowedIPs: allowedIPs)
      let environment = ["LC_ALL": language]
      let up = try space.wg6(["up", file], environment: environment)
      try space.require(up)
      #expect(up.output == "PreUp C 0 0\nPostUp C 0 \(hasFirewall)\n", "\(up.output)")
      let down = try space.wg6(["down", file], environment: environment)
      #expect(down.output == "PreDown C 0 0\nPostDown C 0 0\n", "\(down.output)")
    }
  }

  @Test func `a path that would be two lines in the journal is refused`() throws {
    let space = try Namespace(device: false)
    let directory = "\(space.directory.path)/one\npostdown touch trace\n"
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    let file = try configuration(space, named: "one\npostdown touch trace\n/\(space.interface)")
    let up = try space.wg6(["up", file])
    #expect(up.status == 1 && up.errors.contains("line feed"))
    #expect(!space.hasLink)
  }

  @Test func `a reload asks for names again, and one without an address leaves the endpoint alone`() throws {
    let space = try Namespace(device: false)
    let file = try configuration(space, allowedIPs: "0.0.0.0/1, 128.0.0.0/1", endpoint: "peer.example.org:51820")
    let hosts = try [
      "192.0.2.1 peer.example.org", "192.0.2.2 peer.example.org", "", "192.0.2.9 x\n192.0.2.2 peer.example.org",
    ]
    .enumerated().map { try space.file("hosts\($0)", $1 + "\n") }
    let key = try #require(
      try String(contentsOfFile: file, encoding: .utf8).split(separator: "\n").first { $0.hasPrefix("PublicKey") }?
        .split(separator: " ").last)
    let interface = space.interface
    let script = """
      state() {
        wg show \(interface) endpoints | cut -f 2
        ip route get 192.0.2.$1 mark $(wg show \(interface) fwmark); ip route get 192.0.2.$1
      }
      mount --bind \(hosts[0]) /etc/hosts && \(Programs.wg6) up "$1" && mount --bind \(hosts[1]) /etc/hosts || exit 7
      \(Programs.wg6) reload -n "$1" && \(Programs.wg6) reload "$1" && state 2
      mount --bind \(hosts[2]) /etc/hosts && \(Programs.wg6) reload "$1" && state 2
      # Where the peer went by itself is left alone as long as its name stands for the same.
      wg set \(interface) peer \(key) endpoint 192.0.2.5:5 && mount --bind \(hosts[3]) /etc/hosts || exit 8
      \(Programs.wg6) reload "$1" && state 5
      """
    try space.require(space.ip("link", "add", "outer", "type", "veth", "peer", "other"))
    try space.require(space.ip("address", "add", "198.51.100.1/24", "dev", "outer"))
    for link in ["outer", "other"] { try space.require(space.ip("link", "set", link, "up")) }
    try space.require(space.ip("route", "add", "default", "via", "198.51.100.2"))
    _ = try space.file("nowhere", "")
    let outcome = try space.inside(
      "/usr/bin/unshare",
      ["-m", "sh", "-c", "mount --bind \(space.directory.path)/nowhere /etc/resolv.conf; \(script)", "sh", file],
      environment: ["WG6D": Programs.daemon!])
    let lines = outcome.output.split(separator: "\n").filter { !$0.hasPrefix("    cache") }.map {
      $0.trimmingCharacters(in: .whitespaces)
    }
    #expect(outcome.status == 0, "\(outcome)")
    #expect(lines.contains { $0.contains("endpoint 192.0.2.2:51820") }, "the plan: \(lines)")
    #expect(lines.filter { $0.hasSuffix(":51820") && $0.hasPrefix("192") } == ["192.0.2.2:51820", "192.0.2.2:51820"])
    #expect(lines.contains("192.0.2.5:5"))
    for address in ["192.0.2.2", "192.0.2.5"] {
      // The tunnel's own datagrams go there outside, and nothing else does.
      #expect(
        lines.contains { $0.hasPrefix("\(address) via 198.51.100.2 dev outer") && $0.contains(" mark ") }, "\(lines)")
      #expect(lines.contains { $0.hasPrefix("\(address) dev \(interface) ") }, "\(lines)")
    }
    #expect(outcome.errors.contains("its peer keeps its endpoint"), "\(outcome.errors)")
    try space.require(space.wg6(["down", file]))
  }

  @Test func `save writes a file that is a mount point in place, or leaves it as it was`() throws {
    let space = try Namespace(device: false)
    let file = try configuration(space, "MTU = 1380")
    try space.require(space.wg6(["up", file]))
    // Another file under the same name, as a container is handed one; then one on which nothing more fits.
    let handed = try space.file(
      "handed", String(contentsOfFile: file, encoding: .utf8) + String(repeating: "# more\n", count: 99))
    func save(_ mount: String) throws -> Outcome {
      try space.inside(
        "/usr/bin/unshare", ["-m", "sh", "-c", "\(mount) && \(Programs.wg6) save \(file) && cat \(file)"])
    }
    let saved = try save("mount --bind \(handed) \(file) && ip link set \(space.interface) mtu 1400")
    #expect(saved.status == 0, "\(saved.errors)")
    #expect(try saved.output == String(contentsOfFile: handed, encoding: .utf8))
    #expect(saved.output.contains("MTU = 1400\n") && !saved.output.contains("# more"))

    let many = (0..<400).map { "10.8.\($0 / 200).\($0 % 200)/32" }.joined(separator: ",")
    let peer = try space.wg(["show", space.interface, "peers"]).output.trimmingCharacters(in: .newlines)
    try space.require(space.wg(["set", space.interface, "peer", peer, "allowed-ips", many]))
    let full = "\(space.directory.path)/full"
    try FileManager.default.createDirectory(atPath: full, withIntermediateDirectories: true)
    let failed = try save(
      """
      mount -t tmpfs -o size=4k none \(full) && cp \(handed) \(full)/file && mount --bind \(full)/file \(file) &&
      { \(Programs.wg6) save \(file); cmp \(full)/file \(handed) && echo unharmed; false; }
      """)
    #expect(failed.errors.contains("No space left") && failed.errors.contains("as it was before"), "\(failed)")
    #expect(failed.output == "unharmed\n")
    let names = try FileManager.default.contentsOfDirectory(atPath: space.directory.path)
    #expect(!names.contains { $0.hasSuffix(".backup") || $0.hasSuffix(".tmp") }, "\(names)")
    try space.require(space.wg6(["down", file]))
  }

  @Test func `name servers that nobody can set are found out before anything is changed`() throws {
    let space = try Namespace(device: false)
    // Neither resolvectl nor resolvconf, wherever this runs.
    let nowhere = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin"].flatMap { directory in
      ["resolvectl", "resolvconf"].map { "\(directory)/\($0)" }
    }
    let hiding = nowhere.filter(FileManager.default.fileExists).map { "mount --bind /dev/null \($0); " }.joined()
    func reload(_ arguments: String, _ file: String) throws -> Outcome {
      try space.inside("/usr/bin/unshare", ["-m", "sh", "-c", "\(hiding)\(Programs.wg6) reload \(arguments) \(file)"])
    }
    try space.require(space.wg6(["up", configuration(space)]))
    let file = try configuration(space, "DNS = 192.0.2.53", allowedIPs: "10.7.0.0/16")
    for arguments in ["--dry-run", ""] {
      let outcome = try reload(arguments, file)
      #expect(outcome.status == 1 && outcome.errors.contains("install"), "\(outcome)")
    }
    let routes = try space.ip("route").output
    #expect(routes.contains("10.8.0.0/16") && !routes.contains("10.7.0.0/16"))
    #expect(try space.wg6(["up", file]).errors == "\(space.interface): it is up already\n")
    try space.require(space.wg6(["down", file]))
  }

  @Test func `a reload gives back what others took, and leaves what they gave`() throws {
    let space = try Namespace(device: false)
    let file = try configuration(space, "MTU = 1380", allowedIPs: "10.8.0.0/16, 0.0.0.0/0")
    // Rules are made anew where their order was lost: with other priorities.
    func state() throws -> [String] {
      let rules = try space.ip("rule").output.split(separator: "\n").map { "\($0.drop { $0 != ":" })" }
      let others =
        try ["address", "route", "link"].map { try space.ip($0, "show").output }.joined()
        + space.ip("route", "show", "table", "51820").output
      return rules + others.split(separator: "\n").map(String.init).sorted()
    }
    try space.require(space.wg6(["up", file]))
    try space.require(space.ip("address", "add", "10.99.0.1/24", "dev", space.interface))
    let before = try state()
    for words in [
      ["link", "set", space.interface, "down"], ["address", "delete", "10.9.0.1/24", "dev", space.interface],
      ["link", "set", space.interface, "mtu", "1300"], ["route", "delete", "10.8.0.0/16"],
      ["rule", "delete", "table", "51820"],
    ] {
      _ = try run(Programs.ip!, ["-n", space.name] + words)
      try space.require(space.wg6(["reload", file]))
      #expect(try state() == before, "\(words)")
      #expect(try space.wg6(["reload", "--dry-run", file]).output == "nothing to change\n")
    }
    try space.require(space.wg6(["down", file]))
  }

  @Test func `what a tunnel leaves running holds nobody's descriptors, directory, environment or terminal`() throws {
    let space = try Namespace(device: false)
    let file = try configuration(space, allowedIPs: "0.0.0.0/0", endpoint: "nobody.example.org:51820")
    let lock = try space.file("lock", "")
    let script = "cd \(space.directory.path) && exec 9>>\(lock) && flock 9 && exec \(Programs.wg6) up \(file)"
    let environment = ["WG6D": Programs.daemon!, "OF_A_SHELL": "a password"]
    try space.require(space.inside("/bin/sh", ["-c", script], environment: environment))
    try space.require(space.inside("/usr/bin/flock", ["--wait", "10", lock, "true"]))
    func asking() throws -> [Int32] {
      try space.processes { $0.suffix(2) == ["resolve", space.interface] }.map(\.process)
    }
    for _ in 0..<3 { try space.require(space.wg6(["reload", file])) }
    try waitUntil("one asks for all") { try asking().count == 1 }
    for process in try asking() + space.daemons().map(\.process) + [#require(try space.watcher())] {
      let variables = String(
        decoding: FileManager.default.contents(atPath: "/proc/\(process)/environ") ?? Data(), as: UTF8.self)
      #expect(!variables.contains("OF_A_SHELL") && variables.contains("PATH="))
      #expect(try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(process)/cwd") == "/")
      #expect(try space.inside("/bin/ps", ["-o", "tty=", "-p", "\(process)"]).output.hasPrefix("?"))
    }
    try space.require(space.wg6(["down", file]))
    try waitUntil("nobody asks any more") { try asking().isEmpty }
  }

  @Test func `an interface whose name begins with a hyphen is no option, to any program`() throws {
    let space = try Namespace(device: false)
    let interface = "-\(space.interface)"
    let file = try configuration(
      space, named: interface, allowedIPs: "0.0.0.0/0", endpoint: "nobody.example.org:51820")
    func running() throws -> [String] {
      try space.processes { $0.last == interface }.map { $0.words.dropLast().last! }
    }
    defer { _ = try? space.wg6(["down", file]) }
    try space.require(space.wg6(["up", file]))
    // The daemon, and those that watch and ask.
    try waitUntil("three run, with -- before the name") { try running() == ["--", "--", "--"] }
    let daemon = try #require(
      try space.processes { $0.last == interface && $0.first!.hasSuffix("/wg6d") }.first?.process)
    try space.require(space.wg6(["set", "--", interface, "listen-port", "51998"]))
    #expect(try space.wg6(["show", "--", interface, "listen-port"]).output == "51998\n")
    // The daemon has the file reloaded, which gives the interface another address.
    let text = try String(contentsOfFile: file, encoding: .utf8)
    try text.replacingOccurrences(of: "10.9.0.1/24", with: "10.9.0.7/24").write(
      toFile: file, atomically: false, encoding: .utf8)
    kill(daemon, SIGHUP)
    try waitUntil("the file was reloaded") {
      try space.ip("-o", "address").output.contains("10.9.0.7/24")
    }
    try space.require(space.wg6(["down", "--", interface]))
    try waitUntil("nothing of it runs") { try running().isEmpty }
    #expect(try !space.ip("link").output.contains(interface))
  }

  @Test(arguments: [("chown 65534", "belongs to user 65534"), ("chmod 0777", "can be written by others")])
  func `a state directory that others could have written is not believed, nor one for sockets`(
    change: String, problem: String
  ) throws {
    let space = try Namespace(device: false)
    let file = try configuration(space)
    // As in a container where anybody may make directories in /run: a journal with a command in it, which `down` would run.
    let script = """
      mount -t tmpfs -o mode=1777 none /run && mkdir /run/wg6 /run/wireguard || exit 7
      printf 'wg6 journal 1\\nnamespace %s\\npostdown touch \(space.directory.path)/ran\\ncomplete\\n' \\
        $(stat -Lc %i /proc/self/ns/net) > /run/wg6/\(space.interface).journal
      \(change) /run/$1; shift
      exec "$@"
      """
    func attempt(_ directory: String, _ words: [String]) throws -> Outcome {
      try space.inside(
        "/usr/bin/unshare", ["-m", "sh", "-c", script, "sh", directory] + words,
        environment: ["WG6D": Programs.daemon!])
    }
    for words in [["up", file], ["down", file], ["reload", file], ["save", space.interface]] {
      let outcome = try attempt("wg6", [Programs.wg6] + words)
      #expect(outcome.status == 1 && outcome.errors.contains("/run/wg6 \(problem)"), "\(words): \(outcome.errors)")
    }
    #expect(!FileManager.default.fileExists(atPath: "\(space.directory.path)/ran"))
    for words in [
      [Programs.daemon!, space.interface], [Programs.wg6, "set", space.interface, "private-key", "/dev/null"],
    ] {
      let outcome = try attempt("wireguard", words)
      #expect(outcome.status == 1 && outcome.errors.contains("/run/wireguard \(problem)"), "\(outcome.errors)")
    }
    #expect(!space.hasLink)
    // The same journal, where root alone could have written it.
    #expect(try attempt(".", [Programs.wg6, "down", space.interface]).status == 0)
    #expect(FileManager.default.fileExists(atPath: "\(space.directory.path)/ran"))
  }

  private func configuration(
    _ space: Namespace, _ lines: String = "", named name: String? = nil, allowedIPs: String = "10.8.0.0/16",
    endpoint: String = "127.0.0.1:5555"
  ) throws -> String {
    try space.file(
      "\(name ?? space.interface).conf",
      """
      [Interface]
      PrivateKey = \(try keyPair().private)
      Address = 10.9.0.1/24
      \(lines)
      [Peer]
      PublicKey = \(try keyPair().public)
      AllowedIPs = \(allowedIPs)
      Endpoint = \(endpoint)

      """)
  }
}
