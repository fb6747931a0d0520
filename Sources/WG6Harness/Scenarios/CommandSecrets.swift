import Foundation

/// Where the commands of `wg6` have keys, each held at a point at which it has them, or has had them.
///
/// A command is gone in a moment. One that prints is held by a pipe that is full, one that reads by an input that does not
/// end, one that asks the daemon by a daemon that is stopped, `up` by a command of the file that does not end.
struct CommandSecrets {
  private let host: Host
  private let lab: Lab
  private let wg6: String
  private let privateKey: SecretText
  private let presharedKey: SecretText
  private let peer: String
  private var keys: [SecretText] { [privateKey, presharedKey] }
  /// The files of this host that only root reads.
  private let directory: String

  init(_ host: Host, _ lab: Lab) throws {
    self.host = host
    self.lab = lab
    wg6 = try Binaries.path(of: "wg6")
    privateKey = SecretText("the private key", try lab.command("wg", "genkey").trimmed)
    presharedKey = SecretText("the preshared key", try lab.command("wg", "genpsk").trimmed)
    peer = try KeyPair.fresh(lab).publicKey
    directory = "\(lab.directory)/keys"
    try Files.makeDirectory(directory)
  }

  func search() throws {
    lab.say("and the commands of wg6, each held while it has keys")
    try searchWhatPrintsNewKeys()
    try searchWhatReads()
    let daemon = try host.start([Binaries.path(of: "wg6d"), "-f", "wg1"])
    try waitUntil("wg1 is there") { try host.attempt(["wg", "show", "wg1"]).succeeded }
    try searchWhatAsks(daemon)
    try searchWhatPrints()
    daemon.stop()
    try searchTunnels()
  }

  // MARK: What is held, and how

  /// `genkey` and `genpsk`, whose keys are known once they were printed.
  private func searchWhatPrintsNewKeys() throws {
    for command in ["genkey", "genpsk"] {
      let pipe = try Pipe("\(directory)/out", isFull: true)
      let program = try start([wg6, command], output: pipe)
      try awaitSleep(of: program)
      let memory = try ProcessMemory(of: program.pid).copied()
      let key = SecretText("its key", try pipe.drain(until: program).trimmed)
      try require(memory, "\(command), before its key is printed", locked: [key])
    }
  }

  /// Commands that have read a key, and wait for the rest of their input.
  private func searchWhatReads() throws {
    let begun = text()
    let path = "\(directory)/wg1.conf"
    for (words, text, held) in [
      ([wg6, "pubkey"], privateKey.base64, [privateKey]), ([wg6, "check", path], begun, keys),
      ([wg6, "export", path], begun, keys), ([wg6, "strip", path], begun, keys), ([wg6, "routes", path], begun, keys),
      ([wg6, "set", "wg1", "private-key", path], privateKey.base64, [privateKey]),
      ([wg6, "set", "wg1", "peer", peer, "preshared-key", path], presharedKey.base64, [presharedKey]),
      ([wg6, "setconf", "wg1", path], begun, keys), ([wg6, "addconf", "wg1", path], begun, keys),
      ([wg6, "syncconf", "wg1", path], begun, keys), ([wg6, "up", path], begun, keys),
    ] {
      let input = try Pipe(path, isFull: false)
      let program = try start(words, input: words.count == 2 ? input : nil)
      // Its rest is still to come.
      try input.write(text)
      try waitUntil("\(words[1]) has read") { input.isEmpty }
      try awaitSleep(of: program)
      try require(ProcessMemory(of: program.pid), "\(words[1]), while it reads", locked: held)
      program.stop()
    }
  }

  /// Commands that have keys for the daemon, which does not answer.
  private func searchWhatAsks(_ daemon: Program) throws {
    let file = "\(directory)/wg1.conf", key = "\(directory)/private", other = "\(directory)/preshared"
    try Files.write(text(), to: file, mode: 0o600)
    try Files.write(privateKey.base64, to: key, mode: 0o600)
    try Files.write(presharedKey.base64, to: other, mode: 0o600)
    for (words, held) in [
      (["set", "wg1", "private-key", key], [privateKey]),
      (["set", "wg1", "peer", peer, "preshared-key", other], [presharedKey]),
      (["setconf", "wg1", file], keys), (["addconf", "wg1", file], keys), (["syncconf", "wg1", file], keys),
    ] {
      daemon.send(SIGSTOP)
      let program = try start([wg6] + words)
      try awaitSleep(of: program)
      let memory = try ProcessMemory(of: program.pid).copied()
      daemon.send(SIGCONT)
      let outcome = try program.wait(within: 20)
      try lab.require(outcome.succeeded, "\(words[0]) goes on with a daemon that does", outcome.complaints)
      try require(memory, "\(words[0]), while the daemon does not answer", locked: held)
    }
  }

  /// Commands that print what a daemon or a file says. The keys are the daemon's.
  private func searchWhatPrints() throws {
    let file = "\(directory)/wg1.conf"
    try Files.write(text(), to: file, mode: 0o600)
    for words in [
      ["show", "wg1"], ["show", "wg1", "dump"], ["show", "wg1", "private-key"], ["showconf", "wg1"], ["export", file],
      ["strip", file],
    ] {
      let pipe = try Pipe("\(directory)/out", isFull: true)
      let program = try start([wg6] + words, output: pipe)
      try awaitSleep(of: program)
      let memory = try ProcessMemory(of: program.pid).copied()
      let printed = try pipe.drain(until: program)
      let isSecret = words != ["show", "wg1"]
      try lab.require(
        printed.contains(privateKey.base64) == isSecret, "\(words[0]) prints \(isSecret ? "the" : "no") private key",
        printed)
      try require(memory, "\(words.joined(separator: " ")), before it prints", locked: keys, mayBeGone: !isSecret)
    }
    let pipe = try Pipe("\(directory)/out", isFull: true)
    let input = try Pipe("\(directory)/in", isFull: false)
    let program = try start([wg6, "pubkey"], input: input, output: pipe)
    try input.write(privateKey.base64)
    try waitUntil("pubkey has read") { input.isEmpty }
    input.close()
    try awaitSleep(of: program)
    try require(ProcessMemory(of: program.pid), "pubkey, before it prints", absent: [privateKey])
    _ = try pipe.drain(until: program)
  }

  /// Tunnels that come up, change and stay.
  private func searchTunnels() throws {
    let file = "\(directory)/wg1.conf"
    for hook in ["PreUp", "PostUp"] {
      try Files.write(text("\(hook) = echo held >&2; exec sleep 60\n"), to: file, mode: 0o600)
      let program = try start([wg6, "up", file])
      try waitUntil("\(hook) runs") { program.complaints.contains("held\n") }
      try require(ProcessMemory(of: program.pid), "up, in its \(hook)", locked: keys, mayBeGone: hook == "PostUp")
      program.stop(SIGINT)
      try waitUntil("wg1 is gone") { !host.has(interface: "wg1") }
    }
    // With a default route, so that there is a process that watches over it.
    try Files.write(text(allowedIPs: "0.0.0.0/0"), to: file, mode: 0o600)
    let staying = try start([wg6, "up", "-v", "--foreground", file])
    try waitUntil("wg1 is up") { staying.complaints.contains("serving until") }
    try require(ProcessMemory(of: staying.pid), "up --foreground, while it serves", absent: keys)
    let watcher = host.processes.first { Files.text("/proc/\($0)/cmdline").contains("\0watch\0wg1") }
    guard let watcher else { throw Disproved(claim: "wg1 is watched over", detail: "") }
    try require(ProcessMemory(of: watcher), "the process that watches", absent: keys)
    let daemon = host.processes.first { Files.text("/proc/\($0)/cmdline").contains("wg6d\0-f\0wg1") }
    guard let daemon else { throw Disproved(claim: "wg1 has a daemon", detail: "") }
    for words in [["reload", file], ["save", file]] {
      kill(daemon, SIGSTOP)
      let program = try start([wg6] + words)
      try awaitSleep(of: program)
      let memory = try ProcessMemory(of: program.pid).copied()
      kill(daemon, SIGCONT)
      let outcome = try program.wait(within: 20)
      try lab.require(outcome.succeeded, "\(words[0]) goes on with a daemon that does", outcome.complaints)
      try require(memory, "\(words[0]), while the daemon does not answer", locked: keys)
    }
    try require(ProcessMemory(of: staying.pid), "up --foreground, after that", absent: keys)
    try lab.require(staying.stop(SIGINT) == 0, "SIGINT takes it down", staying.complaints)
  }

  // MARK: Parts

  private func text(_ lines: String = "", allowedIPs: String = "10.99.0.0/16") -> String {
    """
    [Interface]
    PrivateKey = \(privateKey.base64)
    \(lines)[Peer]
    PublicKey = \(peer)
    PresharedKey = \(presharedKey.base64)
    AllowedIPs = \(allowedIPs)

    """
  }

  private func start(_ words: [String], input: Pipe? = nil, output: Pipe? = nil) throws -> Program {
    let script = "exec \"$@\"\(input.map { " <\($0.path)" } ?? "")\(output.map { " >\($0.path)" } ?? "")"
    return try host.start(["sh", "-c", script, "sh"] + words)
  }

  /// Waits until the program is `wg6`, and waits for something itself.
  private func awaitSleep(of program: Program) throws {
    var times = 0
    try waitUntil("\(program.title) waits", within: 20, every: 0.02) {
      guard program.isRunning else { throw ProgramFailed(outcome: try program.wait(within: 1)) }
      let status = Files.text("/proc/\(program.pid)/status")
      times = status.hasPrefix("Name:\twg6\n") && status.contains("State:\tS") ? times + 1 : 0
      return times == 5
    }
  }

  private func require(
    _ memory: ProcessMemory, _ what: String, locked: [SecretText] = [], absent: [SecretText] = [],
    mayBeGone: Bool = false
  ) throws {
    let places = locked.isEmpty ? "nowhere" : "nowhere but in locked memory"
    // A command that was held too early or too late shows nothing.
    for key in locked where !mayBeGone {
      let isThere = try !memory.find([key.bytes] + key.texts).isEmpty
      if !isThere { throw Disproved(claim: "\(what): \(key.name) is there", detail: "") }
    }
    let problem = try memory.misplaced(locked: locked, absent: absent) ?? ""
    try lab.require(problem.isEmpty, "\(what): keys are \(places)", problem)
  }
}

/// A named pipe that this process holds open at both ends.
private final class Pipe {
  let path: String
  private var descriptor: Int32

  /// - Parameter isFull: whoever writes to it waits.
  init(_ path: String, isFull: Bool) throws {
    self.path = path
    unlink(path)
    guard mkfifo(path, 0o600) == 0 else { throw SystemFailure("make \(path)") }
    descriptor = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC)
    guard descriptor >= 0 else { throw SystemFailure("open \(path)") }
    let filling = [UInt8](repeating: UInt8(ascii: "\n"), count: 4096)
    if isFull { while Glibc.write(descriptor, filling, filling.count) > 0 {} }
  }

  deinit {
    close()
    unlink(path)
  }

  func close() {
    if descriptor >= 0 { Glibc.close(descriptor) }
    descriptor = -1
  }

  func write(_ text: String) throws {
    guard Glibc.write(descriptor, text, text.utf8.count) == text.utf8.count else {
      throw SystemFailure("write \(path)")
    }
  }

  var isEmpty: Bool {
    var waiting: Int32 = 0
    _ = ioctl(descriptor, UInt(FIONREAD), &waiting)
    return waiting == 0
  }

  /// All that comes out of it until `program` has ended.
  func drain(until program: Program) throws -> String {
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    try waitUntil("\(program.title) ends", within: 20, every: 0.01) {
      let hasEnded = !program.isRunning
      while true {
        let count = read(descriptor, &buffer, buffer.count)
        if count <= 0 { return hasEnded }
        bytes += buffer[..<count]
      }
    }
    return String(decoding: bytes, as: UTF8.self).trimmingCharacters(in: .newlines)
  }
}
