import ArgumentParser
import CLinux
import Glibc
import WG6Config
import WG6Linux
import WG6Protocol
import WG6Tunnel

struct Exec: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Runs a program that uses nothing but a tunnel, or bypasses it.",
    discussion: """
      The program takes this one's place, with its terminal, signals and exit status. All of its packets go through the \
      tunnel or nowhere; with --outside they go as if the tunnel were not there, past its kill switch too. It asks the \
      tunnel's DNS servers (DNS = … of the file, or --dns), or with --outside the machine's others.

      It runs as root unless --user names somebody: under sudo, as $SUDO_USER. A program of root's could leave by itself. \
      Programs that were running before, or that others start for it (su, systemd-run, a browser that is open already), \
      stay where they are.
        wg6 exec wgnet -- ping -c 1 192.0.2.1
        sudo wg6 exec --user "$USER" wgnet -- firefox
        wg6 exec --outside wgnet -- curl https://example.org
      """)

  @Flag(help: "Bypass the tunnel.")
  var outside = false

  @Option(
    name: [.short, .long], help: ArgumentHelp("Run the program as this user.", valueName: "name"),
    completion: .user)
  var user: String?

  @Option(
    help: ArgumentHelp("Ask this DNS server, rather than those of the file. May be repeated.", valueName: "address"))
  var dns: [String] = []

  @Flag(name: [.short, .long], help: "Say what the program does without, as a tunnel without DNS servers.")
  var verbose = false

  @Argument(help: "The tunnel's file or name, as 'up' had it.", completion: .runningTunnel)
  var tunnel: String

  @Argument(
    parsing: .postTerminator, help: "The program and its arguments, after --.", completion: .program)
  var command: [String] = []

  func validate() throws {
    if let word = dns.first(where: { IPAddress($0) == nil }) {
      throw ValidationError("--dns \(word): expected an IPv4 or IPv6 address")
    }
    if command.isEmpty { throw ValidationError("Which program? wg6 exec \(tunnel) -- PROGRAM …") }
  }

  func run() throws {
    try Rights.require(for: "exec")
    let source = ConfigurationSource(named: tunnel)
    let interface = try source.interface()
    let account = try user.map(Account.init(named:))
    do {
      guard let link = try NetlinkSocket().link(named: interface) else { throw failure("it is not up", at: interface) }
      let settings = try resolverSettings(interface)
      let resolver =
        outside && dns.isEmpty
        ? PrivateResolver.withoutTunnel(interface, tunnelServers: settings.servers)
        : settings
      if verbose, resolver.servers.isEmpty { tellOfMissingServers(interface) }
      try resolver.install()
      let servers = settings.servers.compactMap { NameServer($0)?.address }
      try TunnelExecution.enter(outside ? .outside : .inside, of: link, servers: servers)
    } catch let error as ExecutionError {
      throw failure("\(error)", at: interface)
    } catch let error as NetlinkError {
      throw failure("\(error)", at: interface)
    }
    try account?.become()
    throw becomeProgram()
  }

  /// The tunnel's DNS servers and domains: those of the command line, or those that `up` found in the file.
  private func resolverSettings(_ interface: String) throws -> PrivateResolver {
    guard dns.isEmpty else { return PrivateResolver(servers: dns, searchDomains: []) }
    let tunnel = Tunnel(interface, tell: { _ in }, warn: { _ in }, announce: { _ in })
    guard let request = try tunnel.attempt({ try tunnel.resolverRequest() }) else {
      return PrivateResolver(servers: [], searchDomains: [])
    }
    return PrivateResolver(
      servers: request.servers, searchDomains: request.searchDomains + request.routingDomains)
  }

  private func tellOfMissingServers(_ interface: String) {
    complain(
      outside
        ? "\(interface): no DNS servers but the tunnel's are known here; /etc/resolv.conf stays as it is"
        : "\(interface): the tunnel has no DNS servers; those of /etc/resolv.conf are asked, through the tunnel")
  }

  /// Only returns when that failed: 127 where there is no such program and 126 where it can't be run, as env(1) has it.
  private func becomeProgram() -> ExitCode {
    WG6.restoreCoreLimit()
    var words: [UnsafeMutablePointer<CChar>?] = unsafe command.map { unsafe strdup($0) }
    unsafe words.append(nil)
    unsafe execvp(words[0]!, words)
    let error = errno
    complain("wg6: \(command[0]): \(systemText(error))")
    return ExitCode(error == ENOENT ? 127 : 126)
  }
}

/// Somebody whom a program can run as.
private struct Account {
  let name: String
  let user: uid_t
  let group: gid_t
  let home: String
  let shell: String

  init(named name: String) throws {
    guard let entry = unsafe getpwnam(name) else { throw failure("there is no user '\(name)'") }
    self.name = name
    user = unsafe entry.pointee.pw_uid
    group = unsafe entry.pointee.pw_gid
    home = unsafe String(cString: entry.pointee.pw_dir)
    shell = unsafe String(cString: entry.pointee.pw_shell)
  }

  /// Makes this process theirs, with what login(1) would put into the environment.
  func become() throws {
    let result = unsafe linux_become(name, user, group)
    if result < 0 { throw failure("cannot become \(name): \(systemText(-result))") }
    for (variable, value) in [("HOME", home), ("USER", name), ("LOGNAME", name), ("SHELL", shell)] {
      unsafe setenv(variable, value, 1)
    }
  }
}
