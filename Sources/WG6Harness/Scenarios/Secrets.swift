import Foundation

extension Scenario {
  /// Where a daemon has its keys while it needs them, and that nothing of them is left when it does not.
  static let secrets = Scenario(
    "secrets", "keys are in locked, undumpable memory alone, and gone from all of it once they are not needed"
  ) { lab in
    let tunnel = try Tunnel(in: lab, environment: ["LOG_LEVEL": "debug"])
    let node = tunnel.serverNode, daemon = node.daemon!
    let privateKey = SecretText("the private key", node.keys.privateKey)
    let presharedKey = try SecretText("the preshared key", lab.command("wg", "genpsk").trimmed)
    try node.set("peer", tunnel.clientKey, "remove")
    try daemon.requireNowhereBut(locked: [privateKey], absent: [presharedKey], lab, "before there is a peer")
    let before = try ProcessMemory(of: daemon.pid).keptSlots()

    lab.say("a peer comes, with a preshared key; they talk, and everyone asks for the configuration")
    try node.machine.run(
      [
        "wg", "set", "wg0", "peer", tunnel.clientKey, "preshared-key", "/dev/stdin", "allowed-ips",
        "\(Tunnel.clientInner.v4)/32,\(Tunnel.clientInner.v6)/128",
      ], input: presharedKey.base64)
    try tunnel.client.run(
      ["wg", "set", "wg0", "peer", tunnel.serverKey, "preshared-key", "/dev/stdin"], input: presharedKey.base64)
    try tunnel.establish()
    _ = try tunnel.client.floodPing(Tunnel.serverInner.v6, count: 200)
    try tunnel.server.run("wg", "showconf", "wg0")
    try daemon.requireNowhereBut(locked: [privateKey, presharedKey], absent: [], lab, "while they talk")
    let during = try ProcessMemory(of: daemon.pid).keptSlots()
    let ofPeer = during.subtracting(before)
    // The secret of both static keys, the preshared key, the keys of one session at least.
    try lab.require(
      ofPeer.contains(presharedKey.bytes) && ofPeer.count >= 4,
      "\(ofPeer.count) secrets of the peer and its session are in locked memory", "\(ofPeer.count)")

    if Scenario.isLong {
      lab.say("nine minutes of silence")
      let begun = Clock.seconds
      try waitUntil("540 s have passed", within: 600) { Clock.seconds - begun > 545 }
      let left = try ofPeer.filter { try !ProcessMemory(of: daemon.pid).find([$0]).isEmpty }
      try lab.require(
        left.count == 2 && left.contains(presharedKey.bytes),
        "the session's keys are gone: what is left is the preshared key and the secret of both static keys",
        "\(left.count) of \(ofPeer.count) are left")
    }

    try node.set("peer", tunnel.clientKey, "remove")
    try daemon.requireNowhereBut(locked: [privateKey], absent: [presharedKey], lab, "after the peer was removed")
    var left: [ProcessMemory.Find] = []
    try? waitUntil("the data threads have passed", within: 5) {
      left = try ProcessMemory(of: daemon.pid).find(Array(ofPeer))
      return left.isEmpty
    }
    try lab.require(left.isEmpty, "none of those \(ofPeer.count) secrets is left anywhere in its memory", "\(left)")

    let other = try SecretText("another private key", lab.command("wg", "genkey").trimmed)
    try node.machine.run(["wg", "set", "wg0", "private-key", "/dev/stdin"], input: other.base64)
    try daemon.requireNowhereBut(locked: [other], absent: [privateKey], lab, "after the private key was changed")
    try node.machine.run(["wg", "set", "wg0", "private-key", "/dev/stdin"], input: "")
    try daemon.requireNowhereBut(locked: [], absent: [other], lab, "after the private key was taken away")

    let pid = daemon.pid
    let told =
      ["cmdline", "environ"].map { Files.text("/proc/\(pid)/\($0)") }.joined() + daemon.output + daemon.complaints
    let keys = [privateKey, presharedKey, other].flatMap { [$0.base64, $0.hexadecimal] }
    try lab.require(
      daemon.complaints.contains("sessionEstablished") && keys.allSatisfy { !told.contains($0) },
      "no key in its arguments, its environment or its log at debug level")
    try lab.require(
      Files.text("/proc/\(pid)/limits").split(separator: "\n").contains {
        $0.hasPrefix("Max core file size") && $0.split(separator: " ").dropFirst(4).prefix(2) == ["0", "0"]
      }, "its core is limited to nothing")
    // Whoever has the same user and the same capabilities may look into a process, unless that is undumpable.
    let modest = ["setpriv", "--bounding-set=-all,+net_admin", "--inh-caps=-all"]
    let neighbour = try tunnel.server.start(modest + ["sleep", "60"])
    let second = try tunnel.server.start(modest + [lab.implementation.daemon(), "-f", "wg1"])
    try waitUntil("both run, with CAP_NET_ADMIN alone") {
      Files.text("/proc/\(neighbour.pid)/comm").trimmed == "sleep" && tunnel.server.has(interface: "wg1")
    }
    func look(_ pid: pid_t) throws -> Bool {
      try tunnel.server.attempt(modest + ["head", "-c", "1", "/proc/\(pid)/mem"]).complaints.contains(
        "Permission denied")
    }
    try lab.require(
      !look(neighbour.pid) && look(second.pid),
      "and it is undumpable: who could read its neighbour's memory can't open its")
    try CommandSecrets(tunnel.client, lab).search()
  }
}

/// A key in each form that it takes on its way.
struct SecretText {
  let name: String
  let base64: String
  let bytes: Data

  init(_ name: String, _ base64: String) {
    self.name = name
    self.base64 = base64
    bytes = Data(base64Encoded: base64)!
  }

  var hexadecimal: String { bytes.map { String(format: "%02x", $0) }.joined() }
  /// What may be found of its text: the end of a buffer may cut some off.
  var texts: [Data] { [Data(base64.prefix(40).utf8), Data(hexadecimal.prefix(60).utf8)] }
}

extension ProcessMemory {
  /// Where a secret is that it must not be: anything of `absent`, and of `locked` what is not in locked, undumpable memory.
  func misplaced(locked: [SecretText], absent: [SecretText]) throws -> String? {
    for secret in locked + absent {
      let isAbsent = absent.contains { $0.bytes == secret.bytes }
      for (what, needles) in [("", [secret.bytes]), ("the text of ", secret.texts)] {
        let finds = try find(needles).filter { isAbsent || !$0.mapping.isKept }
        if !finds.isEmpty {
          return "\(what)\(secret.name) at \(finds.prefix(4).map(\.description).joined(separator: ", "))"
        }
      }
    }
    return nil
  }
}

extension Program {
  /// Each of `locked` is in locked, undumpable memory and nowhere else; nothing of `absent` is anywhere.
  fileprivate func requireNowhereBut(
    locked: [SecretText], absent: [SecretText], _ lab: Lab, _ when: String
  ) throws {
    // What is retired goes once both data threads have passed: some milliseconds.
    var complaint = ""
    try? waitUntil("the keys are where they belong", within: 5) {
      complaint = try misplaced(locked: locked, absent: absent) ?? ""
      return complaint.isEmpty
    }
    let names = locked.map { "\($0.name) in locked memory alone" } + absent.map { "\($0.name) nowhere" }
    try lab.require(complaint.isEmpty, "\(when): " + names.joined(separator: ", "), complaint)
  }

  private func misplaced(locked: [SecretText], absent: [SecretText]) throws -> String? {
    let memory = ProcessMemory(of: pid)
    for secret in locked {
      let finds = try memory.find([secret.bytes])
      if finds.isEmpty { return "\(secret.name) is not there" }
      if let find = finds.first(where: { !$0.mapping.isKept }) { return "\(secret.name) at \(find)" }
    }
    for secret in absent {
      if let find = try memory.find([secret.bytes]).first { return "\(secret.name) at \(find)" }
    }
    for secret in locked + absent {
      if let find = try memory.find(secret.texts).first { return "the text of \(secret.name) at \(find)" }
    }
    return nil
  }
}
