import ArgumentParser
import WG6Config
import WG6Crypto
import WG6Protocol
import WG6Tunnel

struct Set: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Changes an interface and its peers.",
    discussion: """
      Words behind the interface, in this order:
        listen-port PORT, fwmark MARK, private-key FILE
        peer KEY, and for that peer: remove, preshared-key FILE, endpoint HOST:PORT,
        persistent-keepalive SECONDS, allowed-ips PREFIX[,PREFIX]...
        further peers in the same way

      Keys are read from files, never from arguments, which everybody can see; an empty file, or /dev/null, removes the \
      key. KEY may be @name from the address book. Prefixes take the place of the peer's; with + or - before a prefix \
      it is added or removed.
        wg6 set wgnet peer @laptop allowed-ips 2001:db8:1::2/128,192.0.2.0/24 persistent-keepalive 25
        wg6 set wgnet peer @laptop allowed-ips +2001:db8:7::/48
        wg6 set wgnet peer @laptop remove
      """)

  /// Everything behind `set`: prefixes may begin with a minus.
  @Argument(parsing: .captureForPassthrough, help: "The interface and what to change.", completion: .changes)
  var words: [String] = []

  func run() throws {
    // An interface's name may begin with a hyphen.
    let isEnded = self.words.first == "--"
    let words = isEnded ? Array(self.words.dropFirst()) : self.words
    if words.contains(where: { $0 == "--help" || $0 == "-h" }) { throw CleanExit.helpRequest(self) }
    if !isEnded, let word = words.first, word.hasPrefix("-") { throw ValidationError("'set' has no option '\(word)'") }
    guard words.count >= 2 else { throw ValidationError("too few words") }
    let update = try SetArguments(words.dropFirst()).update
    SecretMemory.wipeStack()
    try update.warnOfVainRemovals(from: words[0])
    do {
      let device = RemoteDevice(interface: words[0])
      try update.checkOwnKey(of: device)
      try device.apply(update)
    } catch let error as RemoteDevice.Failure {
      throw failure("Unable to modify interface", error, of: words[0])
    }
  }
}

extension DeviceUpdate {
  /// Says which prefixes with a minus are not there to be taken away from `interface`.
  func warnOfVainRemovals(from interface: String) throws {
    guard removesAllowedIPs else { return }
    // Where there is no device, applying this will say so.
    let vain = vainRemovals(before: try? RemoteDevice(interface: interface).status())
    if vain.isEmpty { return }
    let names = try PeerNames()
    for (peer, prefix) in vain {
      wg6.warn("\(names.name(peer)) has no allowed IP \(prefix) to remove; other prefixes stay whole", at: interface)
    }
  }
}
