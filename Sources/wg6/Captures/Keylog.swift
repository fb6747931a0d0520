import ArgumentParser
import Glibc
import WG6Config
import WG6Crypto
import WG6Linux
import WG6Protocol
import WG6Tunnel

struct Keylog: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Prints the keys of handshakes as they happen, for Wireshark.",
    discussion: """
      With them, Wireshark opens a recording of the tunnel's datagrams. Keys of a session are there only if its handshake \
      happened while this command ran: the next one is two minutes away at most. It ends with Ctrl-C or with the daemon.
        wg6 keylog wgnet -w wgnet.keys &
        tcpdump -i eth0 -w outer.pcap udp port 51820
        tshark -o wg.keylog_file:wgnet.keys -r outer.pcap

      Whoever has the file, which holds the interface's private key, can read such recordings and can pass for this machine. \
      The file is its owner's alone. Remove it when it is not needed any longer.
      """)

  @Argument(help: "The interface.", completion: .interface)
  var interface: String

  @Option(
    name: .customShort("w"), help: ArgumentHelp("Write to this file, in place of standard output.", valueName: "file"),
    completion: .anyFile)
  var file: String?

  func run() throws {
    try Rights.require(for: "keylog")
    if file == nil || file == "-" { warnOfWorldAccessibleOutput() }
    let output = try CaptureOutput(file == "-" ? nil : file)
    do {
      var keyLog = try RemoteKeyLog(of: interface)
      complain("\(interface): writing down keys until Ctrl-C")
      while true {
        let isLast = output.isAsked
        var lines = WipedBytes()
        let isThere = keyLog.read(into: &lines)
        if !lines.isEmpty { try output.write(lines) }
        guard isThere else {
          throw failure(
            "the daemon has ended, or waited too long for its keys to be read: the log ends here", at: interface)
        }
        if isLast || output.hasEnded { break }
        _ = output.wait(for: keyLog.rawValue, milliseconds: -1)
      }
    } catch let error as RemoteDevice.Failure {
      throw refusal(of: "keylog", error, by: interface)
    }
  }
}
