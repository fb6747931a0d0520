import Foundation

extension Scenario {
  /// Whether anything gets past a kill switch while everything happens to the tunnel that does.
  static let leaks = Scenario(
    "leaks", "programs, a LAN and strangers all talk while a tunnel with a kill switch comes, breaks, changes and goes",
    needs: [.commandLine, .program("nft", package: "nftables")]
  ) { lab in
    for setting in ["no", "yes", "lan"] {
      lab.say("KillSwitch = \(setting)")
      let hunt = try LeakHunt(in: lab, killSwitch: setting)
      try hunt.play()
      let counts = try hunt.leaks()
      lab.say("  packets that left and should not:")
      let total = counts.reduce(0) { $0 + $1.packets }
      for (phase, packets) in counts { lab.say("    \(phase): \(packets)") }
      if setting == "no" {
        try lab.require(total > 0, "without the kill switch \(total) packets leave, and are seen")
      } else {
        try lab.require(total == 0, "no packet has left, of \(hunt.attempts) tries", try hunt.examples())
      }
    }
  }
}
