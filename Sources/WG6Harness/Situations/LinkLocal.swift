import Foundation

extension Scenario {
  /// Situation 9.
  static let linkLocal = Scenario(
    "link-local",
    "everything is misconfigured but the link: the tunnel comes up by link-local addresses, and has its own",
    needs: [
      .commandLine, .program("busybox", package: "busybox-static"), .program("curl", package: "curl"),
      .program("socat", package: "socat"),
    ]
  ) { lab in
    lab.say(
      """
      laptop ────────── one link ────────── home
      10.0.0.5/24       fe80::b   fe80::a   192.168.1.1/24
      """)
    let laptop = try lab.host("laptop"), home = try lab.host("home")
    try lab.cable(laptop.port("wan", "10.0.0.5/24", "fe80::b/64"), home.port("wan", "192.168.1.1/24", "fe80::a/64"))
    try laptop.reach("fe80::a%wan")
    let lost = try laptop.attempt(["ping", "-q", "-n", "-c", "1", "-W", "1", "192.168.1.1"])
    try lab.require(!lost.succeeded, "by IPv4 the laptop does not reach home: the networks are not the same")
    let situation = try Situation("link-local", of: [home, laptop], foreign: "home", in: lab)
    try situation.up(home, laptop)

    let inner = try situation.address(of: "home")
    let ping = try laptop.show("ping", "-n", "-c", "3", "-i", "0.2", "-W", "3", "\(inner)%wgnet")
    try lab.require(ping.contains("3 received"), "home answers by its link-local address inside the tunnel")
    let endpoints = try laptop.run([situation.frontend(of: laptop).tool(), "show", "wgnet", "endpoints"]).output
    try lab.require(
      endpoints.contains("[fe80::a%wan]:51820"), "the tunnel's datagrams go to fe80::a on the link", endpoints)

    try home.serve(["index.html": "a device's page"])
    // A browser takes no address with an interface, so the page is handed on at an address of the laptop's own.
    let forward = try laptop.start([
      "socat", "TCP4-LISTEN:8080,bind=127.0.0.1,reuseaddr,fork", "TCP6:[\(inner)%wgnet]:80",
    ])
    defer { forward.stop() }
    try waitUntil("the page comes by the forwarded port", within: 10) {
      try laptop.fetch("http://127.0.0.1:8080/") == "a device's page"
    }
    try lab.require(true, "a forwarded port shows a browser the page of a device that has a scoped address alone")

    let links = try [laptop, home].flatMap { host in
      try host.ip("-6", "-o", "address", "show", "scope", "link").split(separator: "\n").compactMap { line in
        line.components(separatedBy: "inet6 ").last?.split(separator: "/").first.map(String.init)
      }
    }
    try lab.require(
      Set(links).count == links.count && !links.contains("fe80::1"), "no two interfaces have one link-local address",
      links.joined(separator: " "))
    lab.measured("addresses", "fe80::a outside, \(inner) inside")
    try situation.down(laptop, home)
  }
}
