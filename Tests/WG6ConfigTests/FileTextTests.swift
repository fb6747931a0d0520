import BrokenFiles
import Testing
import WG6Crypto
import WG6Protocol

@testable import WG6Config

@Suite struct `Texts made from a file` {
  private static let other = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
  private static let laptop = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0="

  @Test func `an export has exclusions computed out, our keys gone, and all else as it was`() throws {
    let exported = try export(
      """
      # The office, ExcludedIPs = none of that
      [Interface]
      \tPrivateKey = \(BrokenFile.privateKey)  # mine
      KillSwitch = yes # ours
      ClampMSS=yes
      SpoofGuard = no
      DNS = 10.0.0.1, ~corp.example, example.org  # names\r
      DNS = ~only.example
      PostUp = echo # = x
      excludedips = 10.0.0.0/30

      [Peer] # one
      PublicKey = @laptop # Anna's\r
      AllowedIPs = 10.0.1.7/24,  fd00::/8 # as it is
        AllowedIPs=10.0.0.0/29, 10.0.0.4 , ::1# cut
      AllowedIPs = 10.0.0.1
      ExcludedIPs = 10.0.0.7

      [Peer]
      PublicKey = \(Self.other)
      AllowedIPs = 10.0.0.6/31, 192.0.2.0/24
      ExcludedIPs = 10.0.0.6
      # the end
      """)
    #expect(
      exported == """
        # The office, ExcludedIPs = none of that
        [Interface]
        \tPrivateKey = \(BrokenFile.privateKey)  # mine
        DNS = 10.0.0.1, example.org  # names\r
        PostUp = echo # = x

        [Peer] # one
        PublicKey = \(Self.laptop) # Anna's\r
        AllowedIPs = 10.0.1.7/24,  fd00::/8 # as it is
          AllowedIPs=10.0.0.4/30, 10.0.0.4, ::1# cut

        [Peer]
        PublicKey = \(Self.other)
        AllowedIPs = 10.0.0.7/32, 192.0.2.0/24
        # the end
        """)
  }

  @Test func `a prefix with a hole that a later peer takes over goes with that one alone`() throws {
    let exported = try export(
      """
      [Interface]
      ExcludedIPs = 10.0.0.0/32
      [Peer]
      PublicKey = @laptop
      AllowedIPs = 10.0.0.0/31
      [Peer]
      PublicKey = \(Self.other)
      AllowedIPs = 10.0.0.0/31

      """)
    #expect(
      exported == """
        [Interface]
        [Peer]
        PublicKey = \(Self.laptop)
        [Peer]
        PublicKey = \(Self.other)
        AllowedIPs = 10.0.0.1/32

        """)
  }

  @Test func `beside the pieces of a default route, endpoints are left out as well`() throws {
    func exported(_ settings: String, _ allowedIPs: String) throws -> PrefixSet {
      let file = try configuration(
        "[Interface]\n\(settings)\n[Peer]\nPublicKey = @laptop\nAllowedIPs = \(allowedIPs)\n")
      let endpoint = try #require(IPAddress("192.0.2.1"))
      return PrefixSet(Coverage(exporting: file, connected: [], endpoints: [endpoint]).allowedIPs[0])
    }
    let endpoint = try #require(IPAddress("192.0.2.1"))
    #expect(try !exported("ExcludedIPs = 10.0.0.0/8", "0.0.0.0/0").contains(endpoint))
    // wg-quick's mark does it; or the routes are no danger; or the file is as loopy as it was.
    #expect(try exported("ExcludedIPs = fd00::/8", "0.0.0.0/0, ::/0").contains(endpoint))
    #expect(try exported("Table = 7\nExcludedIPs = 10.0.0.0/8", "0.0.0.0/0").contains(endpoint))
    #expect(try exported("ExcludedIPs = 10.0.0.0/8", "128.0.0.0/1").contains(endpoint))
  }

  @Test(arguments: [
    "", "\n", "[Interface]", "[Interface]\n\n\n", " [Interface]\t\r\n\tMTU = 1400 \n[Peer]\nPublicKey = \(other)\n#x",
  ])
  func `what plain WireGuard understands is exported byte for byte`(text: String) throws {
    #expect(try export(text, dialect: text.contains("[Interface]") ? .quick : .plain) == text)
  }

  @Test func `what is exported means the same to a plain longest-prefix match`() throws {
    let first = UInt64.random(in: 0...UInt64.max)
    for seed in 0..<UInt64(200) {
      var random = SeededRandom(seed: first &+ seed)
      let oracle = CoverageOracle(using: &random)
      let file = try configuration(oracle.text)
      let coverage = Coverage(file, connected: oracle.connected)
      let again = try configuration(export(oracle.text, connected: oracle.connected))
      #expect(again.excludedIPs.isEmpty && again.peers.allSatisfy { $0.excludedIPs.isEmpty })
      let wanted = coverage.allowedIPs.map { Set($0) }
      #expect(
        Coverage(again, connected: []).allowedIPs.map { Set($0) } == wanted, "seed \(random.seed)\n\(oracle.text)")
    }
  }

  @Test func `stripping leaves what is the device's own, each line without blanks at its ends`() {
    let text = """
      # first \t
        [Interface]\r
       PrivateKey = x #c
      address=10.0.0.1
      POSTUP = echo [Peer]
      DNS
      MTU=1400\r
      FwMark = 1
      Tables = 5

      [Peer]
      Address = kept
      AllowedIPs =  10.0.0.0/8\u{20}
      [Interface]
      SaveConfig = true
      \t
      """
    var output = WipedBytes()
    let bytes = Array(text.utf8)
    ConfigurationFile.writeStripped(bytes.span.bytes, to: &output)
    #expect(
      output.string
        == "# first\n[Interface]\r\nPrivateKey = x #c\nFwMark = 1\nTables = 5\n\n[Peer]\nAddress = kept\n"
        + "AllowedIPs =  10.0.0.0/8\n[Interface]\n\n")
  }

  @Test func `saving writes wg-quick's layout, and keeps what is ours`() throws {
    let text = """
      [Interface]
      Address = 10.9.0.1/24
      DNS = 1.1.1.1, corp.example, ~a.example
      MTU = 1400
      Table = auto
      SaveConfig = true
      PostUp = echo "%i" = %i # not this
      PreUp = first
      PostDown = last
      KillSwitch = lan
      ExcludedIPs = 192.168.0.0/16, lan
      [Peer]
      PublicKey = @laptop
      AllowedIPs = 0.0.0.0/0
      [Peer]
      PublicKey = \(Self.other)
      AllowedIPs = 10.0.0.0/8
      ExcludedIPs = 10.0.0.0/8
      """
    let file = try configuration(text)
    let coverage = Coverage(file, connected: [])
    let cut = coverage.allowedIPs[0].map(\.description).joined(separator: ", ")
    let saved = try save(
      file, coverage,
      """
      [Interface]
      ListenPort = 5
      PrivateKey = \(BrokenFile.privateKey)

      [Peer]
      PublicKey = \(Self.laptop)
      AllowedIPs = \(cut)
      Endpoint = 192.0.2.1:5

      [Peer]
      PublicKey = \(Self.other)

      [Peer]
      PublicKey = \(BrokenFile.privateKey)
      AllowedIPs = fd00::/8

      """)
    #expect(
      saved == """
        [Interface]
        Address = 10.9.0.1/24
        Address = fd00::1/64
        DNS = 1.1.1.1
        DNS = corp.example
        DNS = ~a.example
        MTU = 1380
        Table = auto
        SaveConfig = true
        PreUp = first
        PostUp = echo "%i" = %i
        PostDown = last
        KillSwitch = lan
        ExcludedIPs = 192.168.0.0/16, lan
        ListenPort = 5
        PrivateKey = \(BrokenFile.privateKey)

        [Peer]
        PublicKey = \(Self.laptop)
        AllowedIPs = 0.0.0.0/0
        Endpoint = 192.0.2.1:5

        [Peer]
        PublicKey = \(Self.other)
        ExcludedIPs = 10.0.0.0/8
        AllowedIPs = 10.0.0.0/8

        [Peer]
        PublicKey = \(BrokenFile.privateKey)
        AllowedIPs = fd00::/8

        """)
    // Somebody has changed the peer since: what it has now is what is saved.
    let changed = try save(
      file, coverage, "[Interface]\n\n[Peer]\nPublicKey = \(Self.laptop)\nAllowedIPs = 10.7.0.0/16\n")
    #expect(changed.hasSuffix("AllowedIPs = 10.7.0.0/16\n"))
    // What is saved is read as the file was.
    let again = try configuration(saved)
    #expect(again.hooks == file.hooks && again.resolver == file.resolver && again.excludedIPs == file.excludedIPs)
    #expect(Coverage(again, connected: []).allowedIPs[0] == coverage.allowedIPs[0])
  }

  private func save(_ file: ConfigurationFile, _ coverage: Coverage, _ shown: String) throws -> String {
    var output = WipedBytes()
    let bytes = Array(shown.utf8)
    let addresses = [
      InterfaceAddress(try #require(IPAddress("10.9.0.1")), prefixLength: 24),
      InterfaceAddress(try #require(IPAddress("fd00::1")), prefixLength: 64),
    ]
    file.writeSaved(bytes.span.bytes, addresses: addresses, mtu: 1380, coverage: coverage, to: &output)
    return output.string
  }

  private func export(
    _ text: String, dialect: ConfigurationDialect = .quick, connected: [IPPrefix] = []
  ) throws -> String {
    let file = try configuration(text, dialect)
    var output = WipedBytes()
    let bytes = Array(text.utf8)
    file.writeExported(bytes.span.bytes, coverage: Coverage(file, connected: connected), to: &output)
    return output.string
  }
}
