import Foundation
import Testing
import WG6Harness

/// The scenarios of the harness, one after the other: each has the machine's network to itself.
///
/// A scenario whose prerequisites are missing is skipped aloud, or fails where WG6_REQUIRE_ALL=1 says so.
@Suite("On real networks", .serialized, .enabled(if: onPurpose, "network scenarios need root: run `make test` as root"))
struct Scenarios {
  @Test("A laptop with IPv4 only reaches an IPv6 host through the tunnel, and its IPv4 stays outside")
  func demo() throws { try play("demo") }

  @Test("The daemon starts as wireguard-go does, says so when it is ready, and is quick about it")
  func daemonStarts() throws { try play("daemon-starts") }

  @Test("SIGTERM, a deleted interface and kill -9 leave nothing that the next start does not clear")
  func daemonEnds() throws { try play("daemon-ends") }

  @Test("Up and down leave the machine as it was, also around a killed daemon and a deleted interface")
  func upDown() throws { try play("up-down") }

  @Test("Traffic follows a peer to ten new addresses and ports within a round trip")
  func roaming() throws { try play("roaming") }

  @Test("A keepalive holds open the door of a NAT box that forgets after two seconds")
  func natKeepalive() throws { try play("nat-keepalive") }

  @Test("The server follows a NAT box that loses its mappings")
  func natRemap() throws { try play("nat-remap") }

  @Test("Answers leave from the address that the peer wrote to, unless that has gone")
  func stickySource() throws { try play("sticky-source") }

  @Test("A machine without one of the address families still has its tunnel")
  func oneFamily() throws { try play("one-family") }

  @Test("Outer packets carry the firewall mark")
  func firewallMark() throws { try play("fwmark") }

  @Test("The listening port changes under a running tunnel")
  func portChange() throws { try play("port-change") }

  @Test("A peer cannot speak with an address that is not its own")
  func allowedIPs() throws { try play("allowed-ips") }

  @Test("wg-quick brings up and takes down the daemon as its userspace implementation")
  func wgQuick() throws { try play("wg-quick") }

  @Test("Mistreated and replayed datagrams neither crash a daemon nor arrive twice")
  func wireAbuse() throws { try play("wire-abuse") }

  @Test("Broken requests on the control socket are refused and change nothing")
  func controlAbuse() throws { try play("control-abuse") }

  @Test("Ten thousand pings cost no call of malloc per packet")
  func allocations() throws { try play("allocations") }

  @Test("Nobody can tell us from wireguard-go and the kernel: pings, rekeys, throughput", .timeLimit(.minutes(15)))
  func interop() throws { try play("interop") }

  /// Plays a scenario and narrates into the log. What is missing is said aloud.
  private func play(_ name: String) throws {
    let scenario = try #require(Scenario.named(name))
    do {
      try scenario.run { text in tell("\(name): \(text)") }
    } catch let missing as Prerequisite.Missing where !Prerequisite.allRequired {
      tell("SKIPPED \(missing)")
    }
  }

  private func tell(_ text: String) {
    FileHandle.standardOutput.write(Data((text + "\n").utf8))
  }
}

/// Without root nothing here can run, and that is said once; where everything is required, it shall fail instead.
private let onPurpose = geteuid() == 0 || Prerequisite.allRequired
