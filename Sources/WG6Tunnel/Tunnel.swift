import Glibc
import SystemPackage
import WG6Config
import WG6Linux
import WG6Protocol

/// A tunnel on this machine, known by its interface's name: what brings it up, down and from one configuration to the
/// next. One process at a time changes it.
public struct Tunnel {
  public let interface: String
  /// Told every step.
  let tell: (String) -> Void
  /// Told what went wrong and stopped nothing.
  let warn: (String) -> Void
  /// Told each of the file's commands before it runs.
  let announce: (String) -> Void
  /// Asked between steps whether to give up, as after a signal.
  let isInterrupted: () -> Bool
  /// Whether a signal to end has arrived since this was last asked; asked while one of the file's commands runs, which it ends.
  let takeSignal: () -> Bool

  public init(
    _ interface: String, tell: @escaping (String) -> Void, warn: @escaping (String) -> Void,
    announce: @escaping (String) -> Void, isInterrupted: @escaping () -> Bool = { false },
    takeSignal: @escaping () -> Bool = { false }
  ) {
    self.interface = interface
    self.tell = tell
    self.warn = warn
    self.announce = announce
    self.isInterrupted = isInterrupted
    self.takeSignal = takeSignal
  }
}

/// Why a tunnel did not come up, go down or change: a sentence for people, to stand behind the interface's name.
public struct TunnelError: Error, Sendable, CustomStringConvertible {
  public let description: String

  public init(_ description: String) {
    self.description = description
  }

  init(_ error: NetlinkError) { description = error.description }

  /// By a signal.
  static let interrupted = TunnelError("interrupted")
  /// By a signal, while one of the file's commands ran.
  static func interrupted(_ command: String) -> TunnelError { TunnelError("interrupted; ended '\(command)'") }
}

/// A configuration file that was read, and where it stands.
public struct TunnelFile {
  public let configuration: ConfigurationFile
  /// From the root.
  public let path: String
  /// As messages call it.
  public let shownPath: String
  /// The same for the same contents; `nil` where it is not known.
  public let version: String?
  /// Whether its commands may be run; see `FileOwnership`.
  public let runsHooks: Bool
  /// Says what is strange about the file, on this machine.
  let findings: (Coverage, [EndpointName: Endpoint]) -> [FileMistake]
  /// Why its commands must not be run.
  let hooksProblem: String?

  public init(
    _ configuration: ConfigurationFile, path: String, shownPath: String? = nil, version: String? = nil, runsHooks: Bool,
    hooksProblem: String? = nil,
    findings: @escaping (Coverage, [EndpointName: Endpoint]) -> [FileMistake] = { _, _ in [] }
  ) {
    self.configuration = configuration
    self.path = path
    self.shownPath = shownPath ?? path
    self.version = version
    self.hooksProblem = hooksProblem
    self.runsHooks = runsHooks
    self.findings = findings
  }

  /// Why names without an address keep some tunnels down.
  static let needOfNames = "with a kill switch in force it could not be looked up later"

  var hooks: Hooks { runsHooks ? configuration.hooks : Hooks() }

  /// The addresses of its endpoints, and for which peers' names there is none yet.
  ///
  /// With a kill switch in force nothing can be looked up any more, so then a name is asked for again and again, as `wg`
  /// does, and fails in the end; else it is left for later. `known` has what names were found to be before a daemon died
  /// and left the kill switch in force; `earlier` has what became of names that were asked for a moment ago.
  func endpoints(
    known: [String: Endpoint] = [:], earlier: Endpoints = Endpoints(), retries: Int?,
    isInterrupted: () -> Bool = { false },
    waiting: (ResolutionFailure, UInt32) -> Void
  ) throws(TunnelError) -> Endpoints {
    let mustResolve = configuration.killSwitch != .off
    var endpoints = Endpoints()
    for peer in configuration.peers {
      guard let name = peer.endpoint, endpoints.found[name] == nil, endpoints.missing[name] == nil else { continue }
      do throws(ResolutionFailure) {
        if let failure = earlier.missing[name] ?? earlier.kept[name] { throw failure }
        if let endpoint = earlier.found[name] {
          endpoints.found[name] = endpoint
          continue
        }
        let isPatient = mustResolve && known[name.text] == nil
        endpoints.found[name] = try name.resolve(
          retries: isPatient ? retries : 0, preferred: known[name.text], isInterrupted: isInterrupted,
          waiting: waiting)
      } catch {
        if isInterrupted() { throw .interrupted }
        if let before = known[name.text] {
          endpoints.found[name] = before
          endpoints.kept[name] = error
        } else if mustResolve {
          throw TunnelError(
            "\(path):\(peer.endpointLine): Endpoint: \(error); \(TunnelFile.needOfNames)")
        } else {
          endpoints.missing[name] = error
        }
      }
    }
    return endpoints
  }
}

/// What became of the names of a file's endpoints.
struct Endpoints {
  var found: [EndpointName: Endpoint] = [:]
  var missing: [EndpointName: ResolutionFailure] = [:]
  /// Names that have no address at the moment, and stand for what they were found to be before.
  var kept: [EndpointName: ResolutionFailure] = [:]
}

extension Tunnel {
  /// Does `body` while no other command changes this tunnel.
  func alone<Result>(_ body: () throws(TunnelError) -> Result) throws(TunnelError) -> Result {
    let lock = try lock()
    defer { lock.release() }
    return try body()
  }

  /// Waits up to ten seconds until no other command changes this tunnel, a reload that a signal asked for among them; until
  /// the lock is released, none does.
  func lock() throws(TunnelError) -> InterfaceLock {
    try requireTrust()
    var isTold = false
    do throws(Errno) {
      return try InterfaceLock.take(interface, within: 10) {
        if !isTold { tell("waiting for another command that is changing it") }
        isTold = true
        return !isInterrupted()
      }
    } catch .wouldBlock {
      try stopIfInterrupted()
      throw TunnelError("another command has been changing it for ten seconds")
    } catch {
      throw TunnelError("cannot lock \(StateDirectory.path)/\(interface).lock: \(error)")
    }
  }

  /// Waits until no other command, of any tunnel, chooses a mark or a priority; until the turn ends, none does.
  func takeTurn() throws(TunnelError) -> OwnedDescriptor {
    do {
      return try StateDirectory.takeTurn()
    } catch {
      throw TunnelError("cannot lock \(StateDirectory.path): \(error)")
    }
  }

  /// Throws where others than root could have written the journals, which have commands in them.
  func requireTrust() throws(TunnelError) {
    if let problem = StateDirectory.problem { throw TunnelError(problem) }
  }

  func stopIfInterrupted() throws(TunnelError) {
    if isInterrupted() { throw .interrupted }
  }

  /// Opens a connection to the kernel's routing tables.
  func openNetlink() throws(TunnelError) -> NetlinkSocket {
    do {
      return try NetlinkSocket()
    } catch {
      throw TunnelError(error)
    }
  }

  /// What `up` asked of the resolver; `nil` where there is no such tunnel here, or it has no name servers.
  public func resolverRequest() throws(TunnelError) -> ResolverRequest? {
    guard let journal = try readJournal() else { return nil }
    for case .resolverRequest(let text) in journal.entries { return ResolverRequest(journalText: text) }
    return nil
  }

  /// Whether `up` was not told to leave the file's commands alone for good.
  public func mayRunHooks() throws(TunnelError) -> Bool {
    guard let journal = try readJournal() else { return true }
    return !journal.contains(.withoutHooks)
  }

  /// The file that `up` read; `nil` where the tunnel is not up.
  public func filePath() throws(TunnelError) -> String? {
    guard let journal = try readJournal() else { return nil }
    for case .file(let path) in journal.entries { return path }
    return nil
  }

  /// The journal of this tunnel in this network namespace; `nil` where there is none, or none of this namespace.
  func readJournal() throws(TunnelError) -> Journal? {
    try requireTrust()
    do {
      guard let journal = try Journal.read(interface), journal.isOfThisNamespace else { return nil }
      return journal
    } catch {
      throw TunnelError("\(error)")
    }
  }
}
