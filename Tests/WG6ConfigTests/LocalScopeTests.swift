import Testing
import WG6Config
import WG6Protocol

@Suite struct `Which networks are local` {
  @Test(arguments: [
    "10.0.0.0/8", "10.1.2.0/24", "100.64.0.0/10", "100.127.255.0/24", "169.254.0.0/16", "172.16.0.0/12",
    "172.31.9.0/24",
    "192.168.0.0/16", "192.168.1.7/32", "fc00::/7", "fd77:1::/64", "fe80::/10", "fe80::/64", "febf::/16",
  ])
  func `private, shared, unique local and link-local ones are`(text: String) throws {
    #expect(try #require(IPPrefix(text)).isLocalNetwork)
  }

  @Test(arguments: [
    "0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "8.0.0.0/5", "10.0.0.0/7", "8.8.8.0/24", "11.0.0.0/8", "100.0.0.0/8",
    "100.64.0.0/9", "100.128.0.0/16", "127.0.0.0/8", "169.254.0.0/15", "172.0.0.0/8", "172.16.0.0/11", "172.32.0.0/16",
    "192.0.0.0/8", "192.168.0.0/15", "198.18.0.0/15", "203.0.113.0/24", "224.0.0.0/4", "::/0", "2000::/3",
    "2001:db8::/64", "fc00::/6", "fe00::/8", "fe80::/9", "fec0::/10", "ff02::/16", "::ffff:10.0.0.0/104",
  ])
  func `public ones are not, nor those that are wider than a local range`(text: String) throws {
    #expect(try !#require(IPPrefix(text)).isLocalNetwork)
  }

  @Test func `of multicast, what routers keep inside the site`() throws {
    let groups = PrefixSet(LocalScope.groups)
    let local = [
      "224.0.0.1", "224.0.0.251", "239.255.255.250", "255.255.255.255", "ff02::1", "ff12::1", "ff32::1", "ff05::c",
      "ff75::1", "ff13::1",
    ]
    let wider = [
      "224.0.1.1", "232.1.1.1", "239.0.0.1", "239.192.0.1", "239.254.0.1", "ff01::1", "ff08::1", "ff0e::1", "ff06::1",
      "ff22::1", "ff3e::1",
    ]
    for text in local { #expect(groups.contains(try #require(IPAddress(text))), "\(text)") }
    for text in wider { #expect(!groups.contains(try #require(IPAddress(text))), "\(text)") }
  }
}
