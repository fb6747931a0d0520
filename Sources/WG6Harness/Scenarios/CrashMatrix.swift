import Foundation

extension Scenario {
  /// `wg6` is killed after each of its steps, and whatever is typed next puts the machine in order.
  static let crashMatrix = Scenario(
    "crash-matrix", "up, down and reload killed after every one of their steps: the next command puts all in order",
    needs: [.commandLine, .faultPoints, .program("nft", package: "nftables")]
  ) { lab in
    guard lab.implementation == .wg6 else { return lab.say("only wg6 has fault points") }
    var rows: [CrashRow] = []
    try lab.play(CrashPlan.all, atOnce: 3) { plan in
      [try plan.trial(in: lab)]
    } finish: { plan, trials in
      let own = try plan.rows(of: trials[0])
      rows += own
      let wrong = own.filter { !$0.failings.isEmpty }
      lab.say("  \(wrong.isEmpty ? "✓" : "✗") \(plan): killed after each of \(own.count) steps")
      for row in wrong { lab.say("    " + row.description.replacing("\n", with: "\n    ")) }
    }
    lab.say("")
    for line in CrashRow.table(rows) { lab.say(line) }
    let wrong = rows.filter { !$0.failings.isEmpty }
    try lab.require(
      wrong.isEmpty, "\(rows.count) crashes, and the next command put everything in order",
      wrong.map(\.description).joined(separator: "\n"))
  }
}

/// A command that is killed, and the one that is typed after it.
private struct CrashPlan: CustomStringConvertible {
  let command: String
  let next: String
  /// Whether `reload` goes the other way, from the second file to the first.
  var isBack = false

  static let all: [CrashPlan] =
    ["up", "down"].flatMap { command in ["up", "down"].map { CrashPlan(command: command, next: $0) } }
    + [false, true].flatMap { isBack in
      ["reload", "down", "up"].map { CrashPlan(command: "reload", next: $0, isBack: isBack) }
    }

  var description: String { "\(command)\(isBack ? " back" : ""), then \(next)" }

  /// No command has as many steps.
  private static let most = 150

  /// The file that is brought up, and the one that is reloaded instead of it.
  private static let first = QuickCase(
    "",
    """
    Address = 10.66.0.2/24, fd66::2/64
    ListenPort = 51820
    DNS = 10.66.0.1, corp.example
    KillSwitch = lan
    ClampMSS = yes
    PreUp = echo preup %i >>/etc/wireguard/hooks.log
    PostUp = echo postup %i >>/etc/wireguard/hooks.log
    PostDown = echo postdown %i >>/etc/wireguard/hooks.log
    """,
    "AllowedIPs = 0.0.0.0/0, ::/0\nExcludedIPs = 192.0.2.0/24\nEndpoint = [2001:db8:5::5]:51820",
    "AllowedIPs = 10.70.0.0/16, fd70::/64")
  private static let second = QuickCase(
    "",
    """
    Address = 10.66.0.3/24, fd66::3/64, fd67::3/64
    ListenPort = 51820
    DNS = fd66::1
    PostDown = echo postdown %i >>/etc/wireguard/hooks.log
    """,
    "AllowedIPs = 0.0.0.0/0, fd71::/64\nEndpoint = 203.0.113.5:51820", "AllowedIPs = 10.71.0.0/16",
    "AllowedIPs = 10.72.0.0/16, fd72::/64\nPersistentKeepalive = 25")

  func trial(in lab: Lab) throws -> Trial {
    let tool = try Binaries.debugPath(of: "wg6")
    let files = isBack ? (Self.second, Self.first) : (Self.first, command == "reload" ? Self.second : Self.first)
    let interface = QuickCase.interface
    let place = "/etc/wireguard/\(interface).conf"
    return try Trial(
      "\(command)-\(next)\(isBack ? "-back" : "")", in: lab,
      files: [
        "network": Self.first.network.joined(separator: "\n") + "\n", "hosts": QuickCase.hosts,
        "a": files.0.text, "b": files.1.text,
      ],
      script: """
        network || exit 1
        snap before
        for file in a b; do
          install -m 600 $file \(place)
          try up-$file \(tool) up \(interface)
          settle
          snap $file.snapshot
          try down-$file \(tool) down \(interface)
          absent \(interface)
        done
        n=1
        while [ $n -le \(Self.most) ]; do
          if [ \(command) != up ]; then
            install -m 600 a \(place)
            try $n.prepare \(tool) up \(interface)
            install -m 600 b \(place)
          fi
          try $n.command env WG6_FAULT=$n \(tool) \(command) \(interface)
          tail -n 1 /run/wg6/\(interface).journal >$n.step 2>/dev/null
          if [ "$(cat $n.command.status)" = 0 ]; then
            settle
            snap whole
            break
          fi
          snap $n.killed
          try $n.next \(tool) \(next) \(interface)
          settle
          # That something was restored after the crash is no fault.
          rm -f /run/wg6/\(interface).restored
          snap $n.after
          [ \(next) = down ] || try $n.down \(tool) down \(interface)
          absent \(interface)
          snap $n.end
          n=$((n + 1))
        done
        echo $n >steps
        exit 0
        """)
  }

  func rows(of trial: Trial) throws -> [CrashRow] {
    try trial.wait(within: 180)
    for file in ["a", "b"] where trial.status("up-\(file)") != 0 || trial.status("down-\(file)") != 0 {
      throw Disproved(
        claim: "up and down of the file \(file) succeed without a fault",
        detail: trial.text("up-\(file).log") + trial.text("down-\(file).log"))
    }
    let before = try trial.snapshot("before")
    let wanted = next == "down" ? before : try trial.snapshot("b.snapshot")
    let steps = (Int(trial.text("steps").trimmed) ?? 0) - 1
    guard (1..<Self.most).contains(steps) else {
      throw Disproved(
        claim: "\(command) is killed after its first step, and ends in fewer than \(Self.most)",
        detail: "after \(steps)")
    }
    let whole = Difference(
      command == "down" ? before : try trial.snapshot("b.snapshot"), try trial.snapshot("whole"),
      names: ("wanted", "found"))
    guard whole.isEmpty else {
      throw Disproved(claim: "\(command) that nobody kills does all of it", detail: "\(whole)")
    }
    return try (1...steps).map { step in
      var row = CrashRow(plan: description, step: step, doing: trial.text("\(step).step").trimmed)
      if trial.status("\(step).command") != 128 + Int(SIGKILL) {
        row.failings.append(
          "\(command) was not killed: status \(trial.status("\(step).command")): \(trial.text("\(step).command.log"))")
      }
      let after = Difference(wanted, try trial.snapshot("\(step).after"), names: ("wanted", "found"))
      if !after.isEmpty { row.failings.append("after \(next):\n\(after)\n\(trial.text("\(step).next.log"))") }
      let end = Difference(before, try trial.snapshot("\(step).end"))
      if !end.isEmpty { row.failings.append("in the end:\n\(end)\n\(trial.text("\(step).down.log"))") }
      return row
    }
  }
}

/// One crash and what came of it.
private struct CrashRow: CustomStringConvertible {
  let plan: String
  let step: Int
  /// The journal's last line at the time.
  let doing: String
  var failings: [String] = []

  init(plan: String, step: Int, doing: String) {
    self.plan = plan
    self.step = step
    self.doing = doing
  }

  var description: String { "\(plan), killed after step \(step) (\(doing)): \(failings.joined(separator: "\n"))" }

  /// A line for each step of each command, with what every next command made of it.
  static func table(_ rows: [CrashRow]) -> [String] {
    var lines = ["| command | killed after step | the journal's last line | then |", "|---|---|---|---|"]
    for command in ["up", "down", "reload", "reload back"] {
      let own = rows.filter { $0.plan.hasPrefix("\(command),") }
      for step in Set(own.map(\.step)).sorted() {
        let tried = own.filter { $0.step == step }
        let then = tried.map { "`\($0.plan.split(separator: " ").last!)`: \($0.failings.isEmpty ? "right" : "WRONG")" }
        lines.append("| `\(command)` | \(step) | `\(tried[0].doing)` | \(then.joined(separator: ", ")) |")
      }
    }
    return lines
  }
}
