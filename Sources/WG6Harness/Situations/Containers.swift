import Foundation

extension Scenario {
  /// Situation 8.
  static let containers = Scenario(
    "containers",
    "ten containers behind two routers, one of them behind NAT: each has a global address that stays its own",
    needs: Prerequisite.nat + [
      .commandLine, .program("radvd", package: "radvd"), .program("busybox", package: "busybox-static"),
      .program("curl", package: "curl"),
    ]
  ) { lab in
    let stage = try ContainerStage(in: lab)
    try stage.play()
  }
}

/// A machine with ten containers at a café, home with a prefix for them, and a visitor on the internet.
private struct ContainerStage {
  let lab: Lab
  let visitor: Host
  let home: Host
  let box: Host
  let situation: Situation

  private static let visitorAddress = "2001:db8:cafe::9"
  private static let count = 10

  init(in lab: Lab) throws {
    self.lab = lab
    lab.say(
      """
      c1 … c10 ──── box ─────────── router ══════ internet ═════ home ──────── visitor
      :2080::1…10   192.168.1.2     NAT                          203.0.113.2   2001:db8:cafe::9
                    2001:db8:ebbd:2080::/64 through wgnet        2001:db8:ebbd::/48
      """)
    visitor = try lab.host("visitor")
    home = try lab.host("home")
    box = try lab.host("box")
    let router = try lab.host("router")
    try lab.cable(box.port("wan", "192.168.1.2/24"), router.port("lan", "192.168.1.1/24"))
    try lab.cable(router.port("wan", "203.0.113.1/24"), home.port("wan", "203.0.113.2/24"))
    try lab.cable(home.port("net6", "2001:db8:cafe::1/64"), visitor.port("eth0", "\(Self.visitorAddress)/64"))
    try lab.plug([box.port("lan", "2001:db8:ebbd:2080::ffff/64")], into: "bridge")
    try router.masquerade(out: "wan")
    for host in [home, box] { try host.forward() }
    try box.sysctl(["net.ipv6.conf.wan.disable_ipv6": "1"])
    try box.route(via: "192.168.1.1")
    try visitor.route(via: "2001:db8:cafe::1")
    try box.reach("203.0.113.2")
    try visitor.reach("2001:db8:cafe::1")
    situation = try Situation("containers", of: [home, box], foreign: "home", in: lab)
  }

  /// The address that a container asks for, and that stands in the zone file.
  private static func address(_ number: Int) -> String { "2001:db8:ebbd:2080::\(number)" }

  func play() throws {
    try situation.up(home, box)
    let file = "\(lab.directory)/hosts/box/radvd.conf"
    try Files.write(Examples.text("containers/box/radvd.conf"), to: file, mode: 0o600)
    let radvd = try box.start(["radvd", "-n", "-C", file, "-p", file + ".pid", "-m", "stderr"])
    defer { radvd.send(SIGTERM) }

    let order = Array(1...Self.count)
    var containers = try start(order)
    lab.say("")
    try visit("ten containers")
    for container in containers { lab.remove(container) }
    let gone = try visitor.fetch("http://[\(Self.address(1))]/")
    try lab.require(gone == nil, "stopped, none answers")

    lab.say("\nthe same containers, started in another order")
    containers = try start(order.reversed())
    try visit("after stop and start in another order")
    let back = try containers[0].attempt(["ping", "-q", "-n", "-c", "3", "-i", "0.2", "-W", "3", Self.visitorAddress])
    try lab.require(back.output.contains("3 received"), "a container reaches the visitor", back.output)
    lab.measured("containers", "\(Self.count), each its own address and port 80, the same after a restart")
    try situation.down(home, box)
  }

  /// Starts containers in this order, and returns them when each has its address.
  private func start(_ order: [Int]) throws -> [Host] {
    let began = Date()
    let containers = try order.map { number in
      let container = try lab.host("c\(number)")
      try lab.plug([container.port("eth0")], into: "bridge")
      // Its own at every start, as container programs do it: neighbours remember it for up to a minute.
      try container.ip("link", "set", "eth0", "address", String(format: "02:00:5e:00:20:%02x", number))
      // The host part of the address; the network is the router's to tell.
      try container.ip("token", "set", "::\(number)", "dev", "eth0")
      try container.serve([
        "index.html": "container \(number)",
        "cgi-bin/who": "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n%s\\n' \"$REMOTE_ADDR\"\n",
      ])
      return container
    }
    for (number, container) in zip(order, containers) {
      try waitUntil("container \(number) has its address, and no other", within: 20) {
        let lines = try container.ip("-6", "-o", "address", "show", "dev", "eth0", "scope", "global").split(
          separator: "\n")
        return lines.count == 1 && lines[0].contains("inet6 \(Self.address(number))/64")
          && !lines[0].contains("tentative")
      }
    }
    lab.measured("addresses", String(format: "%.1f s after the start", Date().timeIntervalSince(began)))
    return containers
  }

  private func visit(_ when: String) throws {
    try visitor.reach(Self.address(1))
    var seen: Set<String> = []
    for number in 1...Self.count {
      let page = try visitor.fetch("http://[\(Self.address(number))]/")
      guard page == "container \(number)" else {
        throw Disproved(claim: "container \(number) serves its page", detail: page ?? "none")
      }
      seen.insert(try visitor.fetch("http://[\(Self.address(number))]/cgi-bin/who") ?? "none")
    }
    try lab.require(
      seen.count == 1 && seen.first!.contains(Self.visitorAddress),
      "\(when): \(Self.count) pages from port 80 of \(Self.count) addresses, and each server sees the visitor's own",
      "\(seen)")
  }
}
