import Foundation
import Testing

/// `check` and `up` know the same of a file on a machine.
@Suite(.serialized, .enabled(if: Programs.canCompareDevices, Programs.devicesAbsence))
struct `Check and up` {
  /// A machine and a file, and what both commands have to mention.
  private struct Trial {
    let name: String
    var interface = ""
    var peer = "AllowedIPs = 10.8.0.0/16"
    /// Makes the machine so, in shell, in the namespace and with mounts of its own.
    var machine = ""
    let mention: [String]
  }

  private static let withoutResolver = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin"]
    .flatMap { ["\($0)/resolvectl", "\($0)/resolvconf"] }.filter(FileManager.default.fileExists)
    .map { "mount --bind /dev/null \($0)\n" }.joined()

  private static let resolvconf = "mount -t tmpfs none /run/systemd 2>/dev/null; PATH=$PWD/bin:$PATH\n"

  private static let trials = [
    Trial(
      name: "DNS without a resolver", interface: "DNS = 192.0.2.53", machine: withoutResolver,
      mention: ["no service that manages name servers"]),
    Trial(
      name: "a domain that needs systemd-resolved", interface: "DNS = 192.0.2.53, ~corp.example",
      machine: withoutResolver + resolvconf, mention: ["only systemd-resolved"]),
    Trial(
      name: "commands that others can write", interface: "PostUp = true", machine: "chmod 666 $FILE",
      mention: ["--no-hooks"]),
    Trial(
      name: "an IPv6 address where IPv6 is off", interface: "Address = fd00:9::1/64",
      machine: "sysctl -qw net.ipv6.conf.default.disable_ipv6=1", mention: ["Address = fd00:9::1/64: IPv6 is off"]),
    Trial(
      name: "an IPv6 route where IPv6 is off", peer: "AllowedIPs = fd00:9::/64",
      machine: "sysctl -qw net.ipv6.conf.default.disable_ipv6=1", mention: ["AllowedIPs = fd00:9::/64: IPv6 is off"]),
    Trial(
      name: "no TUN device", machine: "mount -t tmpfs none /dev/net", mention: ["/dev/net/tun: No such file"]),
    Trial(
      name: "a port in use", interface: "ListenPort = 51998", machine: "block 51998",
      mention: ["ListenPort = 51998 is in use"]),
    Trial(
      name: "an interface of this name", machine: "ip link add $IF type veth peer name far",
      mention: ["an interface of this name exists"]),
    Trial(
      name: "a name without an address and a kill switch", interface: "KillSwitch = yes",
      peer: "AllowedIPs = 10.8.0.0/16\nEndpoint = nobody.invalid:51820", mention: ["with a kill switch in force"]),
    Trial(
      name: "a setting that a container can't write", peer: "AllowedIPs = 0.0.0.0/0\nEndpoint = 192.0.2.1:51820",
      machine: "sysctl -qw net.ipv4.conf.all.rp_filter=1; ip link add near type veth peer far; "
        + "mount --bind -o ro /proc/sys /proc/sys", mention: ["--sysctl net.ipv4.conf.all.src_valid_mark=1"]),
    Trial(
      name: "much at once", interface: "DNS = 192.0.2.53\nAddress = fd00:9::1/64\nListenPort = 51998\nPostUp = true",
      machine: withoutResolver
        + "sysctl -qw net.ipv6.conf.default.disable_ipv6=1; mount -t tmpfs none /dev/net; chmod 666 $FILE; block 51998",
      mention: ["--no-hooks", "no service", "IPv6 is off", "/dev/net/tun", "is in use"]),
  ]

  @Test(arguments: trials.indices)
  func `check tells what up refuses by, and up refuses by what check tells`(index: Int) throws {
    let trial = Self.trials[index]
    let (check, up) = (try play(trial, "check"), try play(trial, "up"))
    #expect(check.status == 1 && up.status == 1, "\(trial.name): \(check) \(up)")
    #expect(Swift.Set(messages(check.errors)) == Swift.Set(messages(up.errors)), "\(trial.name): \(check) \(up)")
    for words in trial.mention { #expect(check.errors.contains(words), "\(trial.name): \(check)") }
    #expect(check.errors.split(separator: "\n").allSatisfy { $0.contains(".conf:") }, "\(check)")
  }

  @Test func `where check says fine, up comes up`() throws {
    let fine = Trial(name: "fine", interface: "ListenPort = 51998\nPostUp = true", mention: [])
    #expect(try play(fine, "check") == Outcome(status: 0, output: "", errors: ""))
    #expect(try play(fine, "up").status == 0)
  }

  @Test func `check warns of what up warns of`() throws {
    let trial = Trial(
      name: "nothing useful", interface: "MTU = 1200", peer: "AllowedIPs = 0.0.0.0/0\nPersistentKeepalive = 25",
      mention: [])
    let (check, up) = (try play(trial, "check", lacks: true), try play(trial, "up", lacks: true))
    #expect(check.status == 2 && check.errors == "" && up.status == 0, "\(check) \(up)")
    let told = check.output.split(separator: "\n").compactMap { $0.split(separator: "[").last }
    #expect(
      told == [
        "no-private-key]", "no-address]", "small-mtu]", "one-family]", "no-endpoint]", "idle-keepalive]",
      ], "\(check.output)")
    for line in check.output.split(separator: "\n") {
      // Behind file and line, between which and the message `up` says that it is a warning.
      let message = line.split(separator: ":", maxSplits: 2).last ?? line
      #expect(up.errors.contains(message), "\(up.errors)")
    }
  }

  @Test func `of a tunnel that is up, check tells what a reload would`() throws {
    let space = try Namespace(device: false)
    let file = try configuration(space, Trial(name: "", interface: "ListenPort = 51997", mention: []))
    try space.require(space.wg6(["up", file]))
    #expect(try space.wg6(["check", file]) == Outcome(status: 0, output: "", errors: ""))
    try space.require(space.wg6(["down", file]))
  }

  /// A command in a namespace of its own, on the trial's machine.
  private func play(_ trial: Trial, _ command: String, lacks: Bool = false) throws -> Outcome {
    let space = try Namespace(device: false)
    let file = try configuration(space, trial, lacks: lacks)
    let bin = space.directory.appendingPathComponent("bin")
    try FileManager.default.createDirectory(at: bin, withIntermediateDirectories: true)
    try "#!/bin/sh\n".write(to: bin.appendingPathComponent("resolvconf"), atomically: false, encoding: .utf8)
    try FileManager.default.setAttributes(
      [.posixPermissions: 0o755], ofItemAtPath: bin.appendingPathComponent("resolvconf").path)
    let script = """
      block() {
        python3 -c 'import socket,sys,time
      s=socket.socket(socket.AF_INET6,socket.SOCK_DGRAM); s.bind(("::",int(sys.argv[1]))); print(flush=True); time.sleep(60)' $1 >bound &
        blocker=$!
        trap 'kill $blocker' EXIT
        while [ ! -s bound ]; do sleep 0.02; done
      }
      cd \(space.directory.path); IF=\(space.interface); FILE=\(file)
      \(trial.machine)
      \(Programs.wg6) \(command) "$FILE"
      """
    let outcome = try space.inside(
      "/usr/bin/unshare", ["-m", "sh", "-c", script],
      environment: ["WG6D": Programs.daemon!, "WG_ENDPOINT_RESOLUTION_RETRIES": "0"])
    if command == "up", outcome.status == 0 { try space.require(space.wg6(["down", file])) }
    return outcome
  }

  private func configuration(_ space: Namespace, _ trial: Trial, lacks: Bool = false) throws -> String {
    try space.file(
      "\(space.interface).conf",
      """
      [Interface]
      \(lacks ? "" : "PrivateKey = \(keyPair().private)\nAddress = 10.8.0.1/24")
      \(trial.interface)
      [Peer]
      PublicKey = \(keyPair().public)
      \(trial.peer)

      """)
  }

  /// What is said, without the places and the interface's name.
  private func messages(_ text: String) -> [String] {
    text.split(separator: "\n").map { line in
      var text = String(line)
      for pattern in ["^c[0-9]+n[0-9]+: ", "^[^ ]*\\.conf:[0-9]+: ", "^c[0-9]+n[0-9]+: "] {
        text = text.replacingOccurrences(of: pattern, with: "", options: .regularExpression)
      }
      return text.replacingOccurrences(
        of: "/[^ ]*/wg6-cli-[^ ]*\\.conf", with: "FILE", options: .regularExpression
      ).replacingOccurrences(of: "process [0-9]+", with: "process", options: .regularExpression)
    }
  }
}
