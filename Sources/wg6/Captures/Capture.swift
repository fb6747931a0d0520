import ArgumentParser
import Glibc
import WG6Capture
import WG6Config
import WG6Crypto
import WG6Linux
import WG6Protocol
import WG6Tunnel

struct Capture: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Shows the packets that a tunnel carries.",
    discussion: """
      Packets as programs send and receive them, with direction and peer, while they pass; traffic goes on undisturbed. It \
      ends with Ctrl-C, after -c packets, or with the daemon, and says how many packets it has missed: the daemon never waits \
      for it.
        wg6 capture wgnet
        wg6 capture wgnet --peer @laptop --protocol icmpv6
        wg6 capture wgnet --drops                         what was dropped, and why
        wg6 capture wgnet --hex | text2pcap -D -t '%Y-%m-%d %H:%M:%S.%f' -l 101 - wgnet.pcap
        wg6 capture wgnet -w wgnet.pcapng                 for Wireshark
        wg6 capture wgnet -w - | tshark -r -

      Options of one kind widen what is shown, of several kinds narrow it. Files are the owner's alone.
      """)

  @Argument(help: "The interface.", completion: .interface)
  var interface: String

  @Flag(help: "Show the bytes as well, as text2pcap reads them.")
  var hex = false

  @Option(
    name: .customShort("w"),
    help: ArgumentHelp("Write pcapng to this file, or to standard output (-).", valueName: "file"),
    completion: .anyFile)
  var file: String?

  @Flag(help: "Show packets that were dropped and the reason, in place of those that passed.")
  var drops = false

  @Option(
    help: ArgumentHelp("Packets of this peer only: a public key, or @name.", valueName: "peer"), completion: .peer)
  var peer: [String] = []

  @Option(
    help: ArgumentHelp("Packets from or to an address in this prefix only.", valueName: "prefix"))
  var prefix: [String] = []

  @Option(
    name: .customLong("protocol"),
    help: ArgumentHelp(
      "Packets that carry this protocol only: tcp, udp, icmp, icmpv6, a number.", valueName: "protocol"),
    completion: .list(ProtocolName.words))
  var protocols: [String] = []

  @Option(name: [.customShort("c"), .long], help: ArgumentHelp("End after so many packets.", valueName: "number"))
  var count: Int?

  @Flag(help: "With -w: write the key log into the file as well. Whoever has it can read recordings of the tunnel.")
  var withKeys = false

  func validate() throws {
    if hex, file != nil { throw ValidationError("--hex and -w: expected one of both") }
    if withKeys, file == nil { throw ValidationError("--with-keys without -w: keys go into a pcapng file only") }
    if let count, count < 1 { throw ValidationError("--count \(count): expected 1 or more") }
  }

  func run() throws {
    try Rights.require(for: "capture")
    let filter = try filter()
    let book = try KnownKeys.forDisplay()
    let output = try CaptureOutput(file)
    // The keys first: a handshake between both would be missing otherwise.
    var keyLog: RemoteKeyLog? = nil
    do {
      if withKeys { keyLog = try RemoteKeyLog(of: interface) }
      var capture = try RemoteCapture(of: interface, filter)
      complain("\(interface): capturing until Ctrl-C")
      try follow(&capture, &keyLog, CaptureForm(of: self, book), output)
    } catch let error as RemoteDevice.Failure {
      throw refusal(of: "capture", error, by: interface)
    }
  }

  /// Takes packets until something ends that.
  private func follow(
    _ capture: inout RemoteCapture, _ keyLog: inout RemoteKeyLog?, _ given: CaptureForm, _ output: CaptureOutput
  ) throws {
    var form = given
    // Milliseconds: the daemon rings no bell for a capture, so it is looked at again and again, less often while idle.
    var pause: Int32 = 1
    var hasDaemon = true
    while true {
      let isLast = output.isAsked
      if try writeKeys(&keyLog, &form, output) == false { hasDaemon = false }
      let before = form.packetCount
      try take(from: &capture, &form, output)
      if isLast || output.hasEnded || form.packetCount == count ?? .max { break }
      guard hasDaemon else {
        try form.finish(missed: capture.reader.missed, output)
        throw failure(
          "the daemon has ended, and the capture with it: \(form.summary(capture.reader.missed))", at: interface)
      }
      pause = form.packetCount > before ? 1 : min(pause * 2, 20)
      // What is in the ring still is taken in the next turn.
      if output.wait(for: capture.rawValue, milliseconds: pause) { hasDaemon = false }
    }
    try form.finish(missed: capture.reader.missed, output)
    complain("\(interface): \(form.summary(capture.reader.missed))")
  }

  /// Takes what is there, and writes it.
  private func take(
    from capture: inout RemoteCapture, _ form: inout CaptureForm, _ output: CaptureOutput
  ) throws {
    form.updateClock()
    while form.packetCount < count ?? .max, !output.hasEnded {
      let step = unsafe capture.reader.next { record, packet in unsafe form.append(record, packet) }
      if step == .broken {
        throw failure("the capture's memory holds no packets: wg6 and wg6d are of different versions", at: interface)
      }
      if step == .empty { break }
      if form.isLong { try form.flush(to: output) }
    }
    try form.flush(to: output)
  }

  /// Writes the keys that have come; returns false once the daemon has ended.
  private func writeKeys(
    _ keyLog: inout RemoteKeyLog?, _ form: inout CaptureForm, _ output: CaptureOutput
  ) throws -> Bool {
    guard keyLog != nil else { return true }
    var lines = WipedBytes()
    let isThere = keyLog!.read(into: &lines)
    if !lines.isEmpty {
      var block = WipedBytes()
      PcapngWriter.writeSecrets(lines, to: &block)
      try form.flush(to: output)
      try output.write(block)
    }
    return isThere
  }

  private func filter() throws -> CaptureFilter {
    var filter = CaptureFilter()
    filter.takesDrops = drops
    filter.peers = try peer.map { try PeerWord.key($0) }
    filter.prefixes = try prefix.map {
      guard let prefix = IPPrefix($0, lengthOptional: true) else {
        throw ValidationError("--prefix \($0): expected an address, or a prefix like 2001:db8::/32")
      }
      return prefix
    }
    filter.protocols = try protocols.map {
      guard let number = ProtocolName.number($0) else {
        throw ValidationError(
          "--protocol \($0): expected 0 to 255, or one of \(ProtocolName.words.joined(separator: ", "))")
      }
      return number
    }
    for (name, count, most) in [
      ("--peer", peer.count, CaptureFilter.mostPeers), ("--prefix", prefix.count, CaptureFilter.mostPrefixes),
    ] where count > most { throw ValidationError("\(name) given \(count) times: expected at most \(most)") }
    return filter
  }
}

/// Says why a daemon gives no capture and no key log.
func refusal(of command: String, _ error: RemoteDevice.Failure, by interface: String) -> ExitCode {
  let isAnothers = error.isHangUp || error.errno == EINVAL || error.errno == EPROTO
  switch error.errno {
  case EBUSY:
    return failure("there are \(Device.captureLimit) captures already, as many as there may be: end one", at: interface)
  case _ where isAnothers && (try? RemoteDevice(interface: interface).status()) != nil:
    return failure(
      "another implementation serves it, or another version of wg6d, and '\(command)' needs this one", at: interface)
  default: return failure("Unable to access interface", error, of: interface)
  }
}
