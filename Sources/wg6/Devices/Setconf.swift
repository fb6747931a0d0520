import ArgumentParser
import WG6Config
import WG6Crypto
import WG6Protocol
import WG6Tunnel

struct Setconf: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Makes an interface what a file says, sessions and all.",
    discussion: """
      The file has what wg(8) knows: PrivateKey, ListenPort, FwMark, and peers. What the file does not name is removed.
        wg6 setconf wgnet wgnet.saved
      """)

  @OptionGroup var target: FileAndInterface

  func run() throws {
    try target.apply(replacing: true) { $0 }
  }
}

struct Addconf: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Adds what a file says to an interface.",
    discussion: "  wg6 addconf wgnet more-peers.conf")

  @OptionGroup var target: FileAndInterface

  func run() throws {
    try target.apply(replacing: false) { $0 }
  }
}

/// What `setconf`, `addconf` and `syncconf` are given.
struct FileAndInterface: ParsableArguments {
  @Argument(help: "The interface.", completion: .interface)
  var interface: String

  @Argument(help: "The configuration file; /dev/stdin reads standard input.", completion: .file())
  var file: String

  /// Reads the file, lets `adjust` change what it asks for, and applies that.
  func apply(replacing: Bool, _ adjust: (DeviceUpdate) throws -> DeviceUpdate) throws {
    let configuration = try ConfigurationSource(path: file).read(.plain)
    let names = try PeerNames()
    for takeover in configuration.takeovers(named: file, name: names.name) { warn(takeover) }
    let update = configuration.update(replacing: replacing, endpoints: try configuration.endpoints(named: file))
    try update.warnOfVainRemovals(from: interface)
    do {
      let device = RemoteDevice(interface: interface)
      try update.checkOwnKey(of: device)
      try device.apply(try adjust(update))
    } catch let error as RemoteDevice.Failure {
      throw failure("Unable to modify interface", error, of: interface)
    }
  }
}
