import BrokenFiles
import Foundation
import Testing
import WG6Config

/// Every broken file that the reader is tested with, given to the commands on a live interface.
@Suite(.serialized, .enabled(if: Programs.canCompareDevices, Programs.devicesAbsence))
struct `Broken files and a live interface` {
  @Test func `each is refused by file and line, and the interface stays as it was`() throws {
    let space = try Namespace()
    let key = try keyPair().private
    let good = try space.file(
      "good.conf",
      """
      [Interface]
      PrivateKey = \(key)
      ListenPort = 51333
      [Peer]
      PublicKey = \(BrokenFile.publicKey)
      Endpoint = 192.0.2.1:5
      AllowedIPs = 10.0.0.0/8, fd00::/8
      """)
    try space.require(space.wg6(["setconf", space.interface, good]))
    let before = try space.wg(["showconf", space.interface]).output
    let addresses = try space.ip("address").output + space.ip("route", "show", "table", "all").output
    #expect(before.contains("51333"))

    let other = try Namespace(device: false)
    for broken in BrokenFile.all {
      let (outcome, name) =
        switch broken.dialect {
        case .quick:
          (try other.wg6(["up", other.file("\(other.interface).conf", broken.text)]), "\(other.interface).conf")
        case .plain:
          (try space.wg6(["setconf", space.interface, space.file("broken.conf", broken.text)]), "broken.conf")
        }
      #expect(outcome.status != 0, "accepted: \(broken.text)")
      #expect(outcome.errors.contains("\(name):\(broken.line): "), "\(outcome.errors) for\n\(broken.text)")
      // The other commands take nothing of it either, whatever they say of it.
      let file = try space.file("any.conf", broken.text)
      for command in ["setconf", "addconf", "syncconf"] where broken.dialect == .plain {
        #expect(try space.wg6([command, space.interface, file]).status != 0, "\(command) accepted: \(broken.text)")
      }
      #expect(try space.wg(["showconf", space.interface]).output == before, "changed by: \(broken.text)")
      #expect(!other.hasLink && !other.hasSocket, "left by: \(broken.text)")
    }
    let after = try space.ip("address").output + space.ip("route", "show", "table", "all").output
    #expect(after == addresses)
    print("broken files on a live interface: \(BrokenFile.all.count), none changed it")
  }
}
