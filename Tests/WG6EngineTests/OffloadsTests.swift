import Testing

@testable import WG6Linux

@Suite struct `A list of offloads` {
  @Test(
    arguments: [
      ("tso", .tso), ("tso,gro", [.tso, .gro]), ("gro,tso,gro", [.tso, .gro]), ("all", .all), ("gso,all", .all),
      ("tun,tso,uso,gso,gro", .all),
    ] as [(String, Offloads)])
  func `names them`(list: String, offloads: Offloads) throws {
    #expect(try Offloads(named: list) == offloads)
    #expect(try Offloads(named: offloads.description) == offloads)
  }

  @Test(arguments: [
    ("tsp", "tsp"), ("tso,", ""), ("", ""), (",", ""), ("tso, gro", " gro"), ("TSO", "TSO"), ("tso,foo,bar", "foo"),
    ("all,none", "none"), ("tso gro", "tso gro"),
  ])
  func `is refused for a name that none has, which is told with those that there are`(list: String, name: String) {
    #expect(throws: UnknownOffload(name: name)) { try Offloads(named: list) }
    let text = UnknownOffload(name: name).description
    for kind in Offloads.kinds { #expect(text.contains(kind.name)) }
    #expect(text.contains("'\(name)'"))
  }

  @Test func `takes along what does not work without them`() {
    #expect(Offloads.all.without([]) == .all)
    #expect(Offloads.all.without(.all) == [])
    #expect(Offloads.all.without(.tun) == [.gso, .gro])
    #expect(Offloads.all.without(.tso) == [.tun, .uso, .gso, .gro])
    #expect(Offloads.all.without([.gso, .uso]) == [.tun, .tso, .gro])
    #expect(Offloads.kinds.count == 5 && Offloads.kinds.reduce(into: []) { $0.insert($1.offload) } == Offloads.all)
  }
}
