import ArgumentParser
import Glibc
import WG6Config
import WG6Crypto
import WG6Linux
import WG6Protocol
import WG6Tunnel

/// A configuration file on disk.
struct ConfigurationSource {
  static let directory = "/etc/wireguard"

  let path: String

  init(path: String) {
    self.path = path
  }

  /// The file that a person means by `word`: a path, or a name in `/etc/wireguard`. A word that ends in `.conf` is a path.
  init(named word: String) {
    path = word.contains("/") || word.hasSuffix(".conf") ? word : "\(ConfigurationSource.directory)/\(word).conf"
  }

  /// The interface that the file's name stands for.
  func interface() throws -> String {
    let file = path.split(separator: "/").last.map(String.init) ?? ""
    let name = String(file.dropLast(".conf".count))
    guard file.hasSuffix(".conf") else {
      throw failure("\(path): expected a file that is called after its interface, as wgnet.conf")
    }
    if let problem = ControlSocket.nameProblem(name) { throw failure("\(path): \(problem)") }
    return name
  }

  /// The file that a person means who changes a tunnel: a name stands for what `up` read.
  init(named word: String, of tunnel: Tunnel) throws {
    let isPath = word.contains("/") || word.hasSuffix(".conf")
    let path = isPath ? nil : try tunnel.attempt { try tunnel.filePath() }
    self = path.map { ConfigurationSource(path: $0) } ?? ConfigurationSource(named: word)
  }

  /// Where the file is, from the root and without links.
  func resolved() throws -> ConfigurationSource {
    guard let resolved = unsafe realpath(path, nil) else { throw failure(FileFailure(path: path, errno: errno)) }
    defer { unsafe free(resolved) }
    let absolute = unsafe String(cString: resolved)
    // It will be a line in the journal.
    guard !absolute.utf8.contains(10) else { throw failure("\(path): a line feed in its path") }
    return ConfigurationSource(path: absolute)
  }

  /// The file, read and checked. Every mistake is told, every warning too.
  ///
  /// - Parameter descriptor: what to read, where the file is open already.
  func read(_ dialect: ConfigurationDialect, from descriptor: Int32? = nil) throws -> ConfigurationFile {
    let configuration = try read(dialect, from: descriptor) { configuration, _ in configuration }
    for warning in configuration.warnings { warn(warning) }
    return configuration
  }

  /// The file and its text, for as long as `body` runs. Every mistake is told; warnings are the caller's.
  func read<Result>(
    _ dialect: ConfigurationDialect, from descriptor: Int32? = nil,
    _ body: (ConfigurationFile, RawSpan) throws -> Result
  ) throws -> Result {
    try KnownKeys.check()
    do {
      let text = try contents(of: descriptor)
      return try text.withBytes { bytes in
        let configuration = try ConfigurationFile(
          reading: bytes, named: path, dialect: dialect,
          addressBook: { () throws(FileMistakes) in try KnownKeys.read() })
        SecretMemory.wipeStack()
        return try body(configuration, bytes)
      }
    } catch let error as FileMistakes {
      throw failure(error)
    } catch let error as FileFailure {
      // A name that can't be an interface's has no file: its length is the better answer.
      _ = error.errno == ENOENT ? try interface() : ""
      throw failure(error)
    }
  }

  private func contents(of descriptor: Int32?) throws(FileFailure) -> WipedBytes {
    guard let descriptor else { return try WipedBytes(contentsOf: path) }
    var text = WipedBytes(minimumCapacity: 8192)
    try text.readAll(from: descriptor, named: path)
    return text
  }

  /// The file for `up` and `reload`, read and checked; `runsHooks` asks for its commands, which must be nobody's but
  /// root's. With `tellsWarnings`, those about single lines are printed; the others come later, when addresses are known.
  func tunnelFile(runsHooks: Bool, tellsWarnings: Bool = true) throws -> TunnelFile {
    let names = try PeerNames()
    let absolute = try resolved().path
    let descriptor = unsafe open(absolute, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw failure(FileFailure(path: path, errno: errno)) }
    defer { close(descriptor) }
    // It is asked about the file that was read, whatever stands under its name by then.
    let configuration =
      tellsWarnings
      ? try read(.quick, from: descriptor) : try read(.quick, from: descriptor) { configuration, _ in configuration }
    if tellsWarnings, !configuration.silentWarnings.contains(.readableKey) { warnIfWorldAccessible() }
    let problem = configuration.hooks.isEmpty ? nil : FileOwnership.problem(of: absolute, opened: descriptor)
    let hooksProblem = problem.map {
      "its commands (PreUp and the like) would run as root, and \($0). Give the file to root and take the others' right "
        + "to write, or use --no-hooks"
    }
    // That everybody may read it, wg-quick's words have said.
    let isWorldAccessible = !tellsWarnings && isWorldAccessible
    return TunnelFile(
      configuration, path: absolute, shownPath: path, version: FileOwnership.version(of: descriptor),
      runsHooks: runsHooks, hooksProblem: hooksProblem
    ) { coverage, endpoints in
      findings(
        of: configuration, coverage: coverage, endpoints: endpoints, isWorldAccessible: isWorldAccessible, names: names)
    }
  }

  /// The file at `path`, for `down`, which goes on without where it can't be read.
  static func forSaving(_ path: String) throws(TunnelError) -> ConfigurationFile {
    do {
      return try ConfigurationSource(path: path).read(.quick)
    } catch {
      throw TunnelError("\(path) can't be read any more")
    }
  }

  /// wg-quick's warning about a file that others can read, and its directory too.
  func warnIfWorldAccessible() {
    if isWorldAccessible { warn("it is world accessible: anybody may read its keys", at: path) }
  }

  /// Whether anybody may do anything with the file, and come to it through its directory.
  var isWorldAccessible: Bool {
    var file = stat()
    var directory = stat()
    let parent = path.lastIndex(of: "/").map { String(path[...$0]) } ?? "."
    guard unsafe stat(path, &file) == 0, unsafe stat(parent, &directory) == 0 else { return false }
    return file.st_mode & directory.st_mode & 0o007 != 0
  }
}

extension ConfigurationFile {
  /// Every peer's endpoint, looked up. Names that stay unknown are told with their lines.
  func endpoints(named file: String) throws -> [EndpointName: Endpoint] {
    let retries = try Resolution.retries()
    do {
      return try resolveEndpoints(named: file, retries: retries, waiting: Resolution.announce)
    } catch {
      throw failure(error)
    }
  }
}
