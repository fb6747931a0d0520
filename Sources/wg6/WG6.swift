import ArgumentParser
import CLinux
import Glibc

/// The command line: keys, devices over their control sockets, tunnels from configuration files.
@main
struct WG6: ParsableCommand {
  static let version = "0.1.0"

  static let configuration = CommandConfiguration(
    commandName: "wg6",
    abstract: "Sets up and looks after WireGuard tunnels.",
    discussion: """
      Two machines, each with a key of its own:
        umask 077; wg6 genkey >private.key && wg6 pubkey <private.key

      A file like /etc/wireguard/wgnet.conf on each:
        [Interface]
        PrivateKey = (the machine's own)
        Address = 2001:db8:1::1/64
        ListenPort = 51820

        [Peer]
        PublicKey = (the other's), or @name from the address book
        AllowedIPs = 2001:db8:1::2/128
        Endpoint = vpn.example.org:51820

      Then, on each:
        wg6 check wgnet
        wg6 up wgnet
        wg6 show
        wg6 down wgnet

      Default routes, exclusions, a kill switch, name servers, commands: wg6.conf(5) has all that a file may say.
        wg6 routes wgnet 2001:db8::1   where an address goes, and why
        wg6 reload --dry-run wgnet     what the changed file would change
        wg6 exec wgnet -- PROGRAM      a program that uses nothing but the tunnel
        wg6 capture wgnet              the packets that go through it

      Everything that wg can do, wg6 does in the same words, and both work on the same interfaces.

      ENVIRONMENT: WG6_KEYS the address book (/etc/wireguard/keys); WG6D the daemon to start; WG_COLOR_MODE always, never \
      or auto; WG_HIDE_KEYS=never shows private keys; WG_ENDPOINT_RESOLUTION_RETRIES a number or infinity.

      EXIT STATUS: 0 done; 1 failed, with the reason on standard error, or a command that wg has was misused; 2 'check' \
      found something strange; 64 another command was misused; with 'exec', the program's.
      """,
    version: "wg6 v\(version)",
    subcommands: [
      Up.self, Down.self, Reload.self, Save.self, Exec.self, Log.self, Check.self, Routes.self, Address.self,
      Export.self,
      Strip.self, Show.self,
      Showconf.self, Set.self, Setconf.self, Addconf.self, Syncconf.self, Genkey.self, Genpsk.self, Pubkey.self,
      Capture.self, Keylog.self, Resolve.self, Watch.self, Version.self,
    ],
    defaultSubcommand: Show.self)

  static func main() {
    // Keys pass through this process: no dump, no look from outside. It goes on without where the kernel refuses.
    _ = coreLimit
    _ = linux_prevent_core_dumps()
    let words = Array(CommandLine.arguments.dropFirst())
    if let script = CompletionScript.text(for: words) {
      print(script)
      return
    }
    let arguments = arranged(words)
    refuseUnknownSubcommand(arguments.first)
    do {
      var command = try parseAsRoot(arguments)
      try command.run()
    } catch {
      // Misuse of what `wg` has is told as `wg` tells it.
      if exitCode(for: error) == .validationFailure, let usage = Usage.line(of: arguments.first ?? "show") {
        complain(usage)
        exit(withError: ExitCode.failure)
      }
      guard exitCode(for: error) == .validationFailure else { exit(withError: error) }
      let text = fullMessage(for: error)
      let prefix = "Error: "
      complain(text.hasPrefix(prefix) ? "wg6: \(text.dropFirst(prefix.count))" : text)
      exit(withError: exitCode(for: error))
    }
  }

  /// How large core dumps might have been before there were to be none.
  private static let coreLimit: rlimit = {
    var limit = rlimit()
    unsafe getrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &limit)
    return limit
  }()

  /// For a program that takes this one's place.
  static func restoreCoreLimit() {
    var limit = coreLimit
    unsafe setrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &limit)
  }

  /// `show` being the default, its parser would take a misspelled subcommand for an interface.
  private static func refuseUnknownSubcommand(_ word: String?) {
    guard let word, !word.hasPrefix("-"), word != "help" else { return }
    guard !configuration.subcommands.contains(where: { $0._commandName == word }) else { return }
    let names = configuration.subcommands.filter { $0.configuration.shouldDisplay }.map { $0._commandName }
    let near =
      Suggestion.nearest(to: word, among: names + synonyms.keys.sorted())
      .map { Suggestion.text(synonyms[$0] ?? $0) } ?? ""
    complain("wg6: there is no command '\(word)'.\(near)")
    complain("Usage: \(programName) <cmd> [<args>]; see \(programName) --help")
    exit(withError: ExitCode.failure)
  }

  /// What other programs call these commands.
  private static let synonyms = [
    "list": "show", "ls": "show", "status": "show", "stat": "show", "st": "show", "dump": "show",
    "start": "up", "stop": "down", "restart": "reload", "logs": "log", "run": "exec", "verify": "check",
    "addr": "address",
    "addresses": "address",
  ]

  /// The words of the command line with a `-v` before a command put behind it: `wg6 -v up` asks for steps as `wg6 up -v`
  /// does. `-v` alone tells the version, as `wg -v` does.
  private static func arranged(_ words: [String]) -> [String] {
    guard let first = words.first, first == "-v" || first == "--verbose" else { return words }
    guard words.count > 1 else { return first == "-v" ? ["version"] : words }
    let command = words[1]
    if configuration.subcommands.contains(where: { $0._commandName == command }), !haveSteps.contains(command) {
      complain("wg6: '\(command)' has no steps to tell: \(first) is for \(haveSteps.joined(separator: ", "))")
      exit(withError: Usage.line(of: command) == nil ? ExitCode.validationFailure : ExitCode.failure)
    }
    return command.hasPrefix("-") ? words : [command, first] + words.dropFirst(2)
  }

  /// The commands with `--verbose`.
  private static let haveSteps = ["up", "down", "reload", "exec"]
}

/// How `wg` tells the use of its subcommands.
enum Usage {
  static func line(of subcommand: String) -> String? {
    guard let rest = arguments[subcommand] else { return nil }
    return "Usage: \(programName) \(subcommand)\(rest.isEmpty ? "" : " ")\(rest)"
  }

  static let showFields = [
    "public-key", "private-key", "listen-port", "fwmark", "peers", "preshared-keys", "endpoints", "allowed-ips",
    "latest-handshakes", "transfer", "persistent-keepalive", "dump",
  ]

  private static let arguments = [
    "show": "{ <interface> | all | interfaces } [\(showFields.joined(separator: " | "))]",
    "showconf": "<interface>",
    "set":
      "<interface> [listen-port <port>] [fwmark <mark>] [private-key <file path>] [peer <base64 public key> [remove] "
      + "[preshared-key <file path>] [endpoint <ip>:<port>] [persistent-keepalive <interval seconds>] "
      + "[allowed-ips <ip1>/<cidr1>[,<ip2>/<cidr2>]...] ]...",
    "setconf": "<interface> <configuration filename>",
    "addconf": "<interface> <configuration filename>",
    "syncconf": "<interface> <configuration filename>",
    "genkey": "",
    "genpsk": "",
    "pubkey": "",
  ]
}

struct Version: ParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Tells the version.")

  func run() throws {
    try say("wg6 v\(WG6.version)")
  }
}
