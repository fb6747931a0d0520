import ArgumentParser
import Glibc
import WG6Config
import WG6Crypto
import WG6Linux

struct Log: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Shows what a tunnel's daemon has logged.",
    discussion: """
      A daemon in the background writes errors, and what this machine lacks, to systemd's journal, or else to syslog; more \
      of it with LOG_LEVEL=verbose in the environment of "up". Private keys are never in it.
        wg6 log wgnet
        wg6 log -f wgnet                  what comes, until Ctrl-C (the journal only)
      """)

  @Argument(help: "The tunnel's file or name.", completion: .runningTunnel)
  var tunnel: String

  @Flag(name: [.short, .long], help: "Go on with what comes.")
  var follow = false

  @Option(name: [.customShort("n"), .long], help: ArgumentHelp("Show the last lines only.", valueName: "number"))
  var lines: Int?

  func validate() throws {
    if let lines, lines < 0 { throw ValidationError("--lines \(lines): expected 0 or more") }
  }

  func run() throws {
    let interface = try ConfigurationSource(named: tunnel).interface()
    if unsafe access(SystemLog.journalSocket, F_OK) == 0, let program = Program.locate("journalctl") {
      throw showJournal(of: interface, program)
    }
    guard let path = Log.files.first(where: { unsafe access($0, F_OK) == 0 }) else {
      throw failure(
        "there is no log on this machine, neither systemd's journal nor \(Log.files.joined(separator: " nor ")). "
          + "'wg6 up --foreground' logs to the terminal")
    }
    if follow { throw failure("only the journal can be followed here. Follow the file: tail -F \(path)") }
    let text: WipedBytes
    do {
      text = try WipedBytes(contentsOf: path)
    } catch {
      throw failure(error)
    }
    let found = text.withBytes { Log.lines(of: String(decoding: $0), about: interface) }
    for line in found.suffix(lines ?? found.count) { try say(line) }
  }

  /// Where syslog's programs write what daemons say.
  private static let files = ["/var/log/syslog", "/var/log/messages", "/var/log/daemon.log"]

  /// Has journalctl take this program's place; returns only where that fails.
  private func showJournal(of interface: String, _ program: String) -> ExitCode {
    var words = [program, "\(SystemLog.interfaceField)=\(interface)"]
    if follow { words.append("--follow") }
    if let lines { words.append("--lines=\(lines)") }
    WG6.restoreCoreLimit()
    var pointers: [UnsafeMutablePointer<CChar>?] = unsafe words.map { unsafe strdup($0) }
    unsafe pointers.append(nil)
    unsafe execv(program, pointers)
    return failure("\(program): \(systemText(errno))")
  }

  /// The lines that the interface's daemon wrote, and the process that watches over its rules.
  private static func lines(of text: String, about interface: String) -> [String] {
    text.split(separator: "\n").filter { line in
      guard let program = line.range(of: " wg6d[") ?? line.range(of: " wg6[") else { return false }
      let rest = line[program.upperBound...]
      guard let end = rest.firstIndex(of: "]") else { return false }
      return rest[end...].hasPrefix("]: \(interface): ")
    }.map(String.init)
  }
}

extension String {
  fileprivate init(decoding bytes: RawSpan) {
    self = unsafe bytes.withUnsafeBytes { unsafe String(decoding: $0, as: UTF8.self) }
  }
}

extension Substring {
  /// Where `text` begins first.
  fileprivate func range(of text: String) -> Range<Substring.Index>? {
    ranges(of: text).first
  }
}
