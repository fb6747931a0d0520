import ArgumentParser
import Glibc
import SystemPackage
import WG6Config
import WG6Crypto
import WG6Linux
import WG6Protocol
import WG6Tunnel

struct Show: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Shows what interfaces do.",
    discussion: """
      Without a field, for people; with one, for scripts, tabs between columns:
        wg6 show                          every interface
        wg6 show wgnet                    one
        wg6 show interfaces               their names
        wg6 show wgnet latest-handshakes  seconds since 1970 of each peer's handshake
        wg6 show all dump                 everything, a line a peer

      FIELDS: \(Usage.showFields.joined(separator: ", ")).

      And one for people that wg does not have, for daemons of wg6:
        wg6 show wgnet drops              what was dropped, how often and why, in words

      Names of the address book stand beside the keys that it knows, never in the forms for scripts. Private keys are \
      hidden unless WG_HIDE_KEYS=never.
      """)

  @Argument(help: "An interface, 'all' or 'interfaces'.", completion: .interfaceToShow)
  var interface = "all"

  @Argument(help: "What to print, for scripts.", completion: .shownField)
  var field: String?

  func run() throws {
    if showsSecrets { warnOfWorldAccessibleOutput() }
    switch interface {
    case "all": try showAll()
    case "interfaces":
      guard field == nil else { throw ValidationError("interfaces takes no field") }
      let names = try interfaces()
      if !names.isEmpty { try say(names.joined(separator: " ")) }
    default:
      let status: DeviceStatus
      do {
        status = try self.status(of: interface)
      } catch {
        if let refusal = refusal(error, by: interface) { throw failure(refusal, at: interface) }
        throw failure("Unable to access interface", error, of: interface)
      }
      try show(status, of: interface, withName: false)
    }
  }

  private func showAll() throws {
    let names = try interfaces()
    var shown = 0
    for (index, name) in names.enumerated() {
      do {
        let status = try status(of: name)
        try show(status, of: name, withName: true)
        shown += 1
        if field == nil || showsDrops, index + 1 < names.count { try say() }
      } catch let error as RemoteDevice.Failure {
        _ =
          refusal(error, by: name).map { failure($0, at: name) }
          ?? failure("Unable to access interface", error, of: name)
      }
    }
    if shown == 0, !names.isEmpty { throw ExitCode.failure }
  }

  /// Whether what is asked for has private or preshared keys in it.
  private var showsSecrets: Bool {
    if interface == "interfaces" { return false }
    return field.map { ["private-key", "preshared-keys", "dump"].contains($0) } ?? StatusReport.showsKeys
  }

  private var showsDrops: Bool { field == "drops" }

  private func status(of interface: String) throws(RemoteDevice.Failure) -> DeviceStatus {
    let device = RemoteDevice(interface: interface)
    return showsDrops ? try device.drops() : try device.status()
  }

  /// What to say if another implementation hung up on the question for drops, which only ours knows.
  private func refusal(_ failure: RemoteDevice.Failure, by interface: String) -> String? {
    guard showsDrops, failure.isHangUp, (try? RemoteDevice(interface: interface).status()) != nil else { return nil }
    return "another implementation serves it, and only wg6d counts what it drops"
  }

  private func interfaces() throws -> [String] {
    do {
      return try ControlSocket.interfaces()
    } catch {
      throw failure("Unable to list interfaces: \(systemText(error.rawValue))\(Rights.hint(error.rawValue))")
    }
  }

  private func show(_ status: DeviceStatus, of interface: String, withName: Bool) throws {
    guard let field else {
      var report = StatusReport(book: try KnownKeys.forDisplay())
      report.append(status, of: interface)
      try report.print()
      // Not in what wg prints as well.
      let tunnel = Tunnel(interface, tell: { _ in }, warn: { _ in }, announce: { _ in })
      for finding in tunnel.watchFindings() { warn(finding, at: interface) }
      return
    }
    if showsDrops {
      var report = DropReport(book: try KnownKeys.forDisplay())
      report.append(status, of: interface)
      return try report.print()
    }
    guard var table = StatusTable(field: field, interface: withName ? interface : nil) else {
      let near = Suggestion.text(for: field, among: Usage.showFields + ["drops"])
      complain("wg6: Invalid parameter: '\(field)'\(near.isEmpty ? "" : ".\(near)")")
      throw ValidationError("no such field")
    }
    table.append(status)
    try table.print()
  }
}
