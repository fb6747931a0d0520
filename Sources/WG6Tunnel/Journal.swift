import Glibc
import SystemPackage
import WG6Config
import WG6Crypto
import WG6Linux
import WG6Protocol

/// What `up` changed on this machine, one entry a line, each written before the change is made: whatever happens,
/// `down` or the next `up` knows what to undo, and `reload` what is the tunnel's own. Addresses and routes need no undoing;
/// they go with the interface.
struct Journal: ~Copyable {
  enum Entry: Hashable, Sendable {
    case namespace(NetworkNamespace)
    /// The configuration file's path.
    case file(String)
    /// Which contents of it were carried out, as `TunnelFile.version` has it.
    case fileVersion(String)
    /// What `lan` stood for.
    case lan([IPPrefix])
    /// The mark of the tunnel's own datagrams, where it was not the file that chose it.
    case mark(UInt32)
    /// The mark of the tunnel's own datagrams, which other tunnels' default routes and kill switches let pass.
    case exempt(UInt32)
    case preDown(String)
    case postDown(String)
    /// What the commands of the way down find in their shell's variables.
    case hookVariables(String)
    /// The file's commands are not to be run, whatever a later reload finds in it.
    case withoutHooks
    /// The file is to be saved at the end.
    case saves
    /// The firewall table `wg6-IF`, by what its script comes to; with a kill switch it outlives a daemon that dies.
    case firewall(digest: UInt64, isKillSwitch: Bool)
    /// What that table says, to put it there again if somebody deletes it; the interface is the journal's.
    case filter(FirewallRules)
    case daemon
    /// A kernel setting, and what it was before.
    case setting(name: String, before: String)
    case rule(PolicyRule)
    case resolver(ResolverService)
    /// What the resolver was asked for, as text, to compare.
    case resolverRequest(String)
    /// Where the file has a peer, as it is written there.
    case endpoint(PublicKey, String)
    /// What an endpoint's name was found to be: for a `reload` to see that it is another address by now, and for an `up`
    /// that can't ask because a kill switch is in force.
    case found(String, Endpoint)
    /// Of these endpoints, the one whose name had no address yet.
    case unresolved(PublicKey, String)
    /// In which networks peers have addresses that follow from their keys.
    case derivedNetworks([UInt64])
    /// What the interface takes of router advertisements, where it takes any.
    case routerAdvertisements(RouterAdvertisements)
    case address(InterfaceAddress)
    case route(Route)
    /// Everything stands.
    case complete
    /// A reload has begun, and did not end: some of it is the old file's and some the new one's.
    case reloading
    /// The way down has begun, and PreDown ran.
    case leaving
  }

  let path: String
  private(set) var entries: [Entry]

  /// The first line: which form the others have.
  private static let heading = "wg6 journal 1"

  /// A new journal in place of any other.
  static func begin(
    _ interface: String, _ entries: [Entry] = [], in directory: String = StateDirectory.path
  ) throws(Errno) -> Journal {
    var journal = Journal(path: "\(directory)/\(interface).journal", entries: [])
    try journal.replace(with: entries)
    return journal
  }

  /// The journal that a command left; `nil` where there is none.
  ///
  /// - Parameter sharedOnly: without what concerns no other tunnel, which may be much.
  static func read(
    _ interface: String, sharedOnly: Bool = false, in directory: String = StateDirectory.path
  ) throws(FileFailure) -> Journal? {
    let path = "\(directory)/\(interface).journal"
    let text: WipedBytes
    do {
      text = try WipedBytes(contentsOf: path)
    } catch {
      if error.errno == ENOENT { return nil }
      throw error
    }
    // Byte by byte: to a character a line feed may be but one half. What follows the last line feed is half a line, of a
    // command that was killed while it wrote. What it tells was not done.
    let whole = text.withBytes { bytes in
      unsafe bytes.withUnsafeBytes { unsafe String(decoding: $0, as: UTF8.self) }
    }.utf8
    let lines = whole.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).dropLast()
      .filter { !$0.isEmpty }
    guard let first = lines.first, first.elementsEqual(heading.utf8) else { return Journal(path: path, entries: []) }
    let useful = lines.dropFirst().filter { line in
      !sharedOnly || !Entry.unshared.contains { line.starts(with: $0.utf8) }
    }
    return Journal(path: path, entries: useful.compactMap { Entry(line: Substring($0)) })
  }

  private init(path: String, entries: [Entry]) {
    self.path = path
    self.entries = entries
  }

  func contains(_ entry: Entry) -> Bool { entries.contains(entry) }

  /// Whether it tells of a tunnel that is up, and as one file says.
  var isWhole: Bool { contains(.complete) && !contains(.reloading) && !contains(.leaving) }

  /// What is to be undone, each once, in the order in which it is: what was made last goes first, so the firewall goes last.
  var entriesToUndo: [Entry] {
    var known: Set<Entry> = []
    return entries.reversed().filter { known.insert($0).inserted }
  }

  /// Whether what it tells of is in this process's network namespace; the directory may be many namespaces'.
  var isOfThisNamespace: Bool {
    entries.allSatisfy { entry in
      if case .namespace(let namespace) = entry { namespace.isSame(as: .this) } else { true }
    }
  }

  /// The network namespace that it tells of.
  var namespace: NetworkNamespace? {
    for case .namespace(let namespace) in entries { return namespace }
    return nil
  }

  /// Writes entries behind the others. When it returns, they are there for whoever comes next.
  mutating func append(_ new: [Entry]) throws(Errno) {
    let descriptor = try Journal.open(path, O_RDWR | O_APPEND)
    defer { close(descriptor) }
    let end = try Journal.cutHalfLine(descriptor)
    do throws(Errno) {
      try Journal.write(new.map { $0.line + "\n" }.joined(), to: descriptor)
    } catch {
      // Its room is for other journals.
      ftruncate(descriptor, end)
      throw error
    }
    entries += new
    Fault.point()
  }

  mutating func append(_ entry: Entry) throws(Errno) { try append([entry]) }

  /// Takes back what was written last, for changes that turned out not to be made.
  mutating func withdraw(_ withdrawn: [Entry]) throws(Errno) {
    var rest = entries
    for entry in withdrawn.reversed() {
      if let index = rest.lastIndex(of: entry) { rest.remove(at: index) }
    }
    try replace(with: rest)
  }

  /// Has these entries, and no others, in one step.
  mutating func replace(with new: [Entry]) throws(Errno) {
    let draft = path + ".new"
    let descriptor = try Journal.open(draft, O_WRONLY | O_CREAT | O_TRUNC)
    defer { close(descriptor) }
    defer { unsafe unlink(draft) }
    try Journal.write(([Journal.heading] + new.map(\.line)).map { $0 + "\n" }.joined(), to: descriptor)
    guard unsafe rename(draft, path) == 0 else { throw Errno(rawValue: errno) }
    entries = new
    Fault.point()
  }

  /// Nothing is left to undo.
  consuming func remove() {
    unsafe unlink(path)
    Fault.point()
  }

  /// Cuts off half a line at the end, which would take the next line with it. Returns the length that is left, in bytes.
  private static func cutHalfLine(_ descriptor: Int32) throws(Errno) -> off_t {
    let end = lseek(descriptor, 0, SEEK_END)
    var length = end
    var last: UInt8 = 0
    while length > 0 {
      guard unsafe pread(descriptor, &last, 1, length - 1) == 1 else { throw Errno(rawValue: errno) }
      if last == UInt8(ascii: "\n") { break }
      length -= 1
    }
    guard length == end || ftruncate(descriptor, length) == 0 else { throw Errno(rawValue: errno) }
    return length
  }

  private static func open(_ path: String, _ flags: Int32) throws(Errno) -> Int32 {
    let descriptor = unsafe Glibc.open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard descriptor >= 0 else { throw Errno(rawValue: errno) }
    return descriptor
  }

  private static func write(_ text: String, to descriptor: Int32) throws(Errno) {
    var text = text
    let error = text.withUTF8 { bytes in
      var written = 0
      while written < bytes.count {
        let count = unsafe Glibc.write(descriptor, bytes.baseAddress! + written, bytes.count - written)
        if count > 0 {
          written += count
        } else if errno != EINTR {
          return errno
        }
      }
      return 0
    }
    if error != 0 { throw Errno(rawValue: error) }
  }
}
