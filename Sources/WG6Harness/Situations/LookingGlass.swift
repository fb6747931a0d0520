import Foundation

extension Scenario {
  /// Situation 5.
  static let lookingGlass = Scenario(
    "looking-glass", "a prefix leads to an interface without peers: what arrives there is seen, and refused",
    needs: [.commandLine, .program("text2pcap", package: "tshark"), .program("tshark", package: "tshark")]
  ) { lab in
    guard lab.implementation == .wg6 else {
      return lab.cannotBeOthers("there is one end, and 'wg6 capture' is its window")
    }
    lab.say(
      """
      neighbour ───────────── glass ── wgnet
      2001:db8:1::2   2001:db8:1::1    2001:470:1f05:98e::1, and no peer
      """)
    let glass = try lab.host("glass"), neighbour = try lab.host("neighbour")
    try lab.cable(glass.port("lan", "2001:db8:1::1/64"), neighbour.port("eth0", "2001:db8:1::2/64"))
    try glass.forward()
    try neighbour.route(via: "2001:db8:1::1")
    try neighbour.reach("2001:db8:1::1")
    let situation = try Situation("looking-glass", of: [glass], foreign: "", in: lab)
    try situation.up(glass)

    let file = "\(lab.directory)/glass.pcapng"
    let narrow = ["--prefix", "2001:470:1f05:98e::/64"]
    let plain = try Recorder("capture", of: "wgnet", on: glass)
    let drops = try Recorder("capture", ["--drops"] + narrow, of: "wgnet", on: glass)
    let dump = try Recorder("capture", ["--drops", "--hex"] + narrow, of: "wgnet", on: glass)
    let written = try Recorder("capture", ["--drops", "-w", file] + narrow, of: "wgnet", on: glass)
    let answered = try neighbour.show("ping", "-n", "-c", "3", "-i", "0.2", "-W", "2", "2001:470:1f05:98e::1")
    try lab.require(answered.contains("3 received"), "::1 is the interface's own, and answers")
    let refused = try neighbour.show(
      "ping", "-n", "-c", "3", "-i", "0.2", "-W", "2", "-s", "32", "2001:470:1f05:98e::2")
    try lab.require(
      refused.contains("Destination unreachable: No route") && refused.contains("+3 errors"),
      "::2 is no peer's: each echo request gets an ICMPv6 error", refused)
    let statuses = [plain, drops, dump, written].map { $0.stop() }
    try lab.require(statuses == [0, 0, 0, 0], "each capture ends well at Ctrl-C", "\(statuses)")

    lab.say("\nglass$ wg6 capture --drops \(narrow.joined(separator: " ")) wgnet")
    for line in drops.lines { lab.say(line) }
    try lab.require(
      drops.lines.count == 3
        && drops.lines.allSatisfy { $0.contains("80 bytes") && $0.hasSuffix("dropped, no peer for destination") },
      "the capture has the three, of 80 bytes each, and why they went nowhere", drops.lines.joined(separator: "\n"))
    try lab.require(
      plain.lines.isEmpty, "a capture of what is sent has nothing: those to ::1 are none of the tunnel's",
      plain.lines.joined(separator: "\n"))
    lab.say("\nglass$ wg6 capture --drops --hex wgnet")
    for line in dump.lines.prefix(7) { lab.say(line) }
    let text = "\(lab.directory)/glass.hex"
    try Files.write(dump.program.output, to: text)
    try glass.run(["text2pcap", "-q", "-D", "-t", "%F %T.%f", "-E", "rawip", text, text + ".pcapng"])
    for path in [text + ".pcapng", file] {
      let rows = try glass.run(["tshark", "-r", path, "-T", "fields", "-e", "ipv6.dst", "-e", "ipv6.plen"]).lines
      try lab.require(
        rows == Array(repeating: "2001:470:1f05:98e::2\t40", count: 3),
        path == file
          ? "tshark reads the file that -w wrote" : "text2pcap takes the hexadecimal lines, and tshark its file",
        rows.joined(separator: "\n"))
    }
    lab.measured("packets", "3 of 80 bytes seen, 3 errors sent")
    try situation.down(glass)
  }
}
