import Foundation
import SystemPackage
import Testing
import WG6Config
import WG6Linux
import WG6Protocol

@testable import WG6Tunnel

@Suite struct `A tunnel's journal` {
  private static let entries: [Journal.Entry] = [
    .namespace(NetworkNamespace(number: 4_026_531_840, cookie: 3)), .file("/etc/wireguard/a file.conf"),
    .fileVersion("1:2:3:4.5"), .lan([]),
    .lan([prefix("10.0.0.0/8"), prefix("fd00::/64")]), .mark(51820), .preDown("echo  %i | cat"),
    .hookVariables("INTERFACE='wg0' ADDRESSES=('10.0.0.1')"),
    .postDown("true"), .postDown("echo\r"), .withoutHooks, .saves, .firewall(digest: .max, isKillSwitch: true),
    .firewall(digest: 0, isKillSwitch: false), .exempt(.max), .filter(FirewallRules(interface: "")), .filter(filter),
    .daemon, .setting(name: "net.ipv4.conf.all.src_valid_mark", before: "0"),
    .rule(
      PolicyRule(isIPv6: true, mark: 51820, isInverted: true, table: 51820, suppressedPrefixLength: nil, priority: nil)),
    .rule(
      PolicyRule(isIPv6: true, to: prefix("fc00::/7"), table: 254, suppressedPrefixLength: 6, priority: 8)),
    .rule(
      PolicyRule(isIPv6: false, mark: nil, isInverted: false, table: 254, suppressedPrefixLength: 0, priority: 7)),
    .resolver(.resolvconf), .resolverRequest("2001:db8::53 ~corp.example"),
    .endpoint(peerKey(1), "vpn.example.org:51820"),
    .found("vpn.example.org:51820", Endpoint(address: address("2001:db8::7"), port: 51820)),
    .unresolved(peerKey(2), "[fe80::1%eth0]:1"),
    .address(InterfaceAddress(address("2001:db8::1"), prefixLength: 64)),
    .derivedNetworks([0xFE80 << 48, .max]), .derivedNetworks([]), .routerAdvertisements(.all),
    .route(Route(prefix("10.0.0.0/8"), table: 254)), .route(Route(prefix("10.1.0.0/16"), table: 1_073_793_644)),
    .complete, .reloading, .leaving,
  ]

  private static let filter: FirewallRules = {
    var rules = FirewallRules(
      interface: "", mark: 51820, guardedAddresses: [address("10.0.0.1"), address("fd00::1")],
      guardedSources: [prefix("0.0.0.0/0"), prefix("fd00::/8")], savesMarks: true,
      killSwitch: KillSwitchRules(
        covered: [prefix("10.0.0.0/8"), prefix("::/0")], networks: [prefix("10.1.0.0/16"), prefix("fe80::/64")],
        lan: .networks), clampsMSS: true)
    rules.formerMark = 7
    rules.sharers = [Sharer(address: address("fd00::1"), interface: "a=b+c")]
    rules.others = [OtherTunnel(interface: "a=b+c", mark: 1), OtherTunnel(interface: "wg1", mark: .max)]
    return rules
  }()

  private static let rules = entries.filter { if case .rule = $0 { true } else { false } }

  /// What the next command reads.
  private func written(in directory: String) throws -> [Journal.Entry]? {
    try Journal.read("wg0", in: directory)?.entries
  }

  @Test(arguments: entries) func `every entry is read as it was written`(entry: Journal.Entry) {
    #expect(Journal.Entry(line: entry.line[...]) == entry, "\(entry.line)")
  }

  @Test func `what was written is there for the next command, and only what is whole`() throws {
    try withDirectory { directory in
      var journal = try Journal.begin("wg0", in: directory)
      try journal.append(Self.entries)
      try journal.append(.complete)
      #expect(try written(in: directory) == Self.entries + [.complete])

      let shared = try Journal.read("wg0", sharedOnly: true, in: directory)?.entries ?? []
      #expect(shared.contains(.mark(51820)) && shared.contains { $0.isSetting("net.ipv4.conf.all.src_valid_mark") })
      #expect(shared.count { Self.rules.contains($0) } == 3)
      #expect(shared.count { if case .route = $0 { true } else { false } } == 1)

      // Killed while it wrote.
      let file = "\(directory)/wg0.journal"
      let text = try String(contentsOfFile: file, encoding: .utf8)
      try String(text.dropLast(5)).write(toFile: file, atomically: true, encoding: .utf8)
      #expect(try written(in: directory) == Self.entries)

      try journal.replace(with: [.daemon, .complete, .daemon, .saves])
      try journal.withdraw([.daemon, .saves])
      #expect(try written(in: directory) == [.daemon, .complete])
      try journal.replace(with: [.daemon])
      #expect(try written(in: directory) == [.daemon])
      journal.remove()
      #expect(try FileManager.default.contentsOfDirectory(atPath: directory).isEmpty)
    }
  }

  @Test(arguments: [(Journal.Entry.mark(51820), 2), (.complete, 1), (.setting(name: "a.b", before: "0"), 2)])
  func `half a line of a command that was killed counts for nothing, and takes no other line with it`(
    last: Journal.Entry, missing: Int
  ) throws {
    try withDirectory { directory in
      var journal = try Journal.begin("wg0", [.daemon], in: directory)
      try journal.append(last)
      try #require(truncate(journal.path, off_t(text(journal.path).utf8.count - missing)) == 0)
      #expect(try written(in: directory) == [.daemon])
      guard var next = try Journal.read("wg0", in: directory) else { return }
      try next.append(.leaving)
      #expect(try written(in: directory) == [.daemon, .leaving])
    }
  }

  @Test(.enabled(if: OwnMachine.isPossible, OwnMachine.absence))
  func `a full file system leaves no half line and no byte of it`() throws {
    try OwnMachine.run {
      let directory = "/run/full", page = sysconf(Int32(_SC_PAGESIZE))
      try OwnMachine.require(mkdir(directory, 0o700) == 0, "a directory can be made")
      // Two pages: what is written first leaves room for one.
      try OwnMachine.mountMemory(over: directory, "size=\(2 * page)")
      var journal = try Journal.begin("wg0", [.daemon], in: directory)
      let before = try text(journal.path)
      do throws(Errno) {
        try journal.append([.saves, .file("/" + String(repeating: "x", count: 2 * page))])
        throw .badAddress
      } catch {
        try OwnMachine.require(error == .noSpace, "there is no room: \(error)")
      }
      try OwnMachine.require(text(journal.path) == before, "the file is as it was, to the byte")
      try OwnMachine.require(journal.entries == [.daemon], "nothing is said to be written")
      try journal.append(.leaving)
      try OwnMachine.require(written(in: directory) == [.daemon, .leaving], "the next line is there")
    }
  }

  @Test func `what another version wrote tells nothing`() throws {
    try withDirectory { directory in
      let expected: [(String, [Journal.Entry])] = [
        ("wg6 journal 1", [.daemon, .complete]), ("wg6 journal 2", []), ("daemon", []),
      ]
      for (heading, entries) in expected {
        let text = "\(heading)\ndaemon\ncomplete\n"
        try text.write(toFile: "\(directory)/wg0.journal", atomically: true, encoding: .utf8)
        let read = try written(in: directory)
        #expect(read == entries, "\(heading)")
      }
    }
  }

  @Test func `a link in its place is not followed`() throws {
    try withDirectory { directory in
      let goal = "\(directory)/goal", journal = "\(directory)/wg0.journal"
      func link(_ path: String) throws {
        try "untouched".write(toFile: goal, atomically: true, encoding: .utf8)
        try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: goal)
      }
      try link(journal + ".new")
      do throws(Errno) {
        _ = try Journal.begin("wg0", [.daemon], in: directory)
        Issue.record("a draft that is a link is written")
      } catch {
        #expect(error == .tooManySymbolicLinkLevels)
      }
      #expect(try text(goal) == "untouched")
      try FileManager.default.removeItem(atPath: journal + ".new")
      var own = try Journal.begin("wg0", [.daemon], in: directory)
      try FileManager.default.removeItem(atPath: journal)
      try link(journal)
      do throws(Errno) {
        try own.append(.complete)
        Issue.record("a journal that is a link is written")
      } catch {
        #expect(error == .tooManySymbolicLinkLevels)
      }
      #expect(try text(goal) == "untouched")
    }
  }

  private func text(_ path: String) throws -> String { try String(contentsOfFile: path, encoding: .utf8) }

  @Test func `what was made last is undone first, and each once`() throws {
    try withDirectory { directory in
      let table = Journal.Entry.firewall(digest: 1, isKillSwitch: true)
      let settings = ["a", "b"].map { Journal.Entry.setting(name: $0, before: "0") }
      let journal = try Journal.begin("wg0", [table, .daemon, settings[0], settings[1], .daemon], in: directory)
      let order = journal.entriesToUndo
      #expect(order == [.daemon, settings[1], settings[0], table])
    }
  }

  @Test func `a lost tunnel's rules are a pair, told apart from those of others`() {
    func rule(_ priority: UInt32, mark: UInt32? = nil, isIPv6: Bool = false) -> PolicyRule {
      PolicyRule(
        isIPv6: isIPv6, mark: mark, isInverted: mark != nil, table: mark ?? 254,
        suppressedPrefixLength: mark == nil ? 0 : nil, priority: priority)
    }
    let own = [rule(32761), rule(32763, mark: 2), rule(32764), rule(32765, mark: 1)]
    #expect(own[3].pair(among: own) == [rule(32764), rule(32765, mark: 1)])
    #expect(own[1].pair(among: own) == [rule(32761), rule(32763, mark: 2)])
    #expect(rule(32765, mark: 1, isIPv6: true).pair(among: own) == [rule(32765, mark: 1, isIPv6: true)])
    let local = ["10.0.0.0/8", "169.254.0.0/16"].enumerated().map { index, text in
      PolicyRule(
        isIPv6: false, to: prefix(text), table: 254, suppressedPrefixLength: 7, priority: 32763 + UInt32(index))
    }
    #expect(own[3].pair(among: [own[1]] + local + [own[3]]) == local + [own[3]])
    // Alike in one way only: with a mark, in another table, or one that leaves out nothing, or too much.
    var foreign = [rule(32764), rule(32764), rule(32764), rule(32764)]
    foreign[0].mark = 7
    foreign[1].table = 7
    foreign[2].suppressedPrefixLength = nil
    foreign[3].suppressedPrefixLength = 1
    for other in foreign { #expect(own[3].pair(among: [other, own[3]]) == [own[3]], "\(other)") }
    // What has no priority comes behind those that have one.
    #expect(own[3].pair(among: [rule(40000), own[3]]) == [own[3]])
  }

  @Test func `it is known which endpoints the file writes otherwise than before`() throws {
    try withDirectory { directory in
      let text = ["a.example:1", "b.example:1", "c.example:1"].enumerated().map { index, endpoint in
        "[Peer]\nPublicKey = \(peerKey(UInt8(index + 1)).base64)\nEndpoint = \(endpoint)\n"
      }
      let without = "[Peer]\nPublicKey = \(peerKey(4).base64)\n"
      let file = try configuration("[Interface]\nPrivateKey = \(ownKey)\n" + text.joined() + without)
      let journal = try Journal.begin(
        "wg0",
        [
          .endpoint(peerKey(1), "a.example:1"), .unresolved(peerKey(2), "b.example:1"),
          .endpoint(peerKey(3), "c.example:2"), .endpoint(peerKey(4), "d.example:1"),
        ], in: directory)
      let otherwise = journal.endpointsOtherwise(in: file)
      #expect(otherwise == [peerKey(3)])
      let none = try Journal.begin("wg1", in: directory).endpointsOtherwise(in: file)
      #expect(none == [peerKey(1), peerKey(2), peerKey(3)])
    }
  }

  @Test func `it is known which network namespace it tells of`() throws {
    try withDirectory { directory in
      var journal = try Journal.begin("wg0", in: directory)
      try journal.append(.namespace(.this))
      let isHere = journal.isOfThisNamespace
      #expect(isHere)
      try journal.replace(with: [.namespace(NetworkNamespace(number: 1))])
      let isElsewhere = !journal.isOfThisNamespace, isGone = journal.namespace?.isGone == true
      #expect(isElsewhere && isGone)
      try journal.replace(with: [.namespace(.this)])
      let isLiving = journal.namespace?.isGone == false
      #expect(isLiving)
    }
  }

  @Test func `a namespace that was given the number of one that is gone is another`() throws {
    let this = NetworkNamespace.this
    guard let cookie = this.cookie else { return }
    try withDirectory { directory in
      let former = NetworkNamespace(number: this.number, cookie: cookie + 1)
      let journal = try Journal.begin("wg0", [.namespace(former)], in: directory)
      let isHere = journal.isOfThisNamespace, isGone = journal.namespace?.isGone == true
      #expect(!isHere && isGone)
      // Of an earlier version, or written by a kernel that tells no cookie.
      let bare = try Journal.begin("wg1", [.namespace(NetworkNamespace(number: this.number))], in: directory)
      let isBareHere = bare.isOfThisNamespace
      #expect(isBareHere)
    }
  }
}
