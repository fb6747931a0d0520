import Foundation

/// A virtual machine with the Linux kernel's own WireGuard, its network card plugged into a host of the lab.
///
/// Emulated in software, since the machines that run this are virtual themselves. One boot (a few seconds) serves any
/// number of WireGuard interfaces.
public final class Guest: Machine {
  public let name: String
  public unowned let lab: Lab
  private let emulator: Program
  private let consolePath: String
  private let channel: SerialChannel

  /// Boots a guest whose `eth0` is the other end of `port`, a tap device of that host.
  public init(_ name: String, pluggedInto port: Port) throws {
    self.name = name
    let host = port.host
    lab = host.lab
    let image = try GuestImage.prepared(by: lab)
    try host.ip("tuntap", "add", port.interface, "mode", "tap")
    try port.raise()
    consolePath = "\(lab.directory)/\(name).console"
    let socket = "\(lab.directory)/\(name).serial"
    emulator = try host.start([
      "qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "384", "-smp", "1",
      "-nodefaults", "-display", "none", "-no-reboot",
      "-kernel", image.kernel, "-initrd", image.initrd, "-append", "console=ttyS0 panic=1 quiet",
      "-serial", "file:\(consolePath)", "-serial", "unix:\(socket),server=on,wait=off",
      "-netdev", "tap,id=card,ifname=\(port.interface),script=no,downscript=no,vhost=off",
      "-device", "virtio-net-pci,netdev=card",
    ])
    try waitUntil("the emulator runs", within: 20) { [emulator] in
      guard emulator.isRunning else { throw ProgramFailed(outcome: try emulator.wait(within: 1)) }
      return Files.exists(socket)
    }
    channel = try SerialChannel(path: socket)
    lab.add(self)
    try channel.expect("READY", within: 120)
  }

  /// What the guest's kernel printed.
  public var console: String { Files.text(consolePath) }

  public func attempt(
    _ words: [String], input: String? = nil, environment: [String: String] = [:], within seconds: Double = 30
  ) throws -> Outcome {
    let quoted = words.map { "'" + $0.replacingOccurrences(of: "'", with: "'\\''") + "'" }.joined(separator: " ")
    let variables = environment.map { "export \($0.key)='\($0.value)'\n" }.joined()
    let source = input.map { " <<'END-OF-INPUT'\n\($0)\nEND-OF-INPUT\n" } ?? "\n"
    let script = variables + quoted + source
    try channel.send(Data(script.utf8).base64EncodedString() + "\n")
    let answer = try channel.line(within: seconds).split(separator: ",", omittingEmptySubsequences: false)
    guard answer.count == 3, let status = Int32(answer[0]) else {
      throw Disproved(claim: "\(name) answers a command", detail: answer.joined(separator: ","))
    }
    func text(_ field: Substring) -> String {
      String(decoding: Data(base64Encoded: String(field)) ?? Data(), as: UTF8.self)
    }
    return Outcome(
      title: "\(name): \(words.joined(separator: " "))", status: status, output: text(answer[1]),
      complaints: text(answer[2]))
  }
}

/// The emulator's end of the guest's second serial port: lines there and back.
private final class SerialChannel {
  private let socket: UnixSocket
  private var pending: [UInt8] = []

  init(path: String) throws {
    socket = try UnixSocket(path: path)
  }

  func send(_ text: String) throws {
    guard socket.send(text, within: 20) else { throw SystemFailure("write to the guest") }
  }

  /// Skips lines until one is `text`.
  func expect(_ text: String, within seconds: Double) throws {
    let end = Clock.seconds + seconds
    while try line(within: max(0.1, end - Clock.seconds)) != text {}
  }

  /// The next line, without carriage return.
  func line(within seconds: Double) throws -> String {
    let end = Clock.seconds + seconds
    while true {
      if let newline = pending.firstIndex(of: 10) {
        let line = pending[..<newline].filter { $0 != 13 }
        pending.removeSubrange(...newline)
        return String(decoding: line, as: UTF8.self)
      }
      let left = end - Clock.seconds
      guard left > 0 else { throw Overdue(what: "the guest answers", seconds: seconds) }
      guard let bytes = socket.receive(within: left) else { throw SystemFailure("read from the guest") }
      pending += bytes
    }
  }
}
