import Testing
import WG6Linux
import WG6Protocol

@testable import WG6Tunnel

@Suite struct `What programs of wg6 exec are given` {
  @Test func `marks differ by interface and way, and stay out of people's numbers`() {
    let names = (0..<1000).map { "wg\($0)" } + ["wg-home", "a", "abcdefghijklmno", "wg=0", "wg+0"]
    let marks = names.flatMap { [ExecutionMark.inside(of: $0), ExecutionMark.outside(of: $0)] }
    #expect(Set(marks).count == marks.count)
    #expect(marks.allSatisfy { $0 >= 0x8000_0000 })
    // What one version made, another one has to find.
    #expect(ExecutionMark.inside(of: "wg0") == ExecutionMark.outside(of: "wg0") & ~1)
  }

  @Test func `the filter's table is called after the interface, in what nft takes for a name`() {
    #expect(ExecutionFilter(interface: "wg0").tableName == "wg6exec-wg0")
    #expect(ExecutionFilter(interface: "w=g+0").tableName == "wg6exec-w/3dg/2b0")
  }

  @Test func `a table without programs inside guards nothing`() {
    let filter = ExecutionFilter(interface: "wg0", outside: "x/outside")
    #expect(!filter.script.contains("guard"))
    #expect(!filter.script.contains("\(ExecutionMark.inside(of: "wg0"))"))
    #expect(filter.script.contains("socket cgroupv2 level 2 \"x/outside\""))
  }

  @Test func `a resolver's file says whom to ask and nothing else`() {
    let resolver = PrivateResolver(servers: ["10.0.0.53", "fd00::53"], searchDomains: ["corp.example", "example"])
    #expect(resolver.resolvConf == "nameserver 10.0.0.53\nnameserver fd00::53\nsearch corp.example example\n")
    #expect(PrivateResolver(reading: resolver.resolvConf) == resolver)
    let other = "# nameserver 1.1.1.1\nnameserver\t10.0.0.53 \noptions edns0\nsearch a\nsearch b c\nnameserver fd00::53"
    #expect(
      PrivateResolver(reading: other)
        == PrivateResolver(servers: ["10.0.0.53", "fd00::53"], searchDomains: ["b", "c"]))
  }

  @Test func `hosts are looked for in files and DNS, and all else as before`() {
    let text = "passwd: files systemd\nhosts:          files mdns4_minimal [NOTFOUND=return] resolve dns\n# end\n"
    #expect(PrivateResolver.switching(text) == "passwd: files systemd\n# end\nhosts: files dns\n")
    #expect(PrivateResolver.switching("") == "hosts: files dns\n")
  }
}
