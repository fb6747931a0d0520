import Foundation

/// One side of a comparison: a script that runs on a fresh host, in the background, and what it wrote down.
///
/// A hundred and fifty of them are played in a minute, several at once. So one program does all of a side's work, and the
/// harness starts it, waits, and reads.
final class Trial {
  let host: Host
  private let program: Program
  /// Where the script runs and leaves its files. Among the lab's logs, so that a failure's evidence has them.
  let directory: String

  /// Starts `script` on a host of its own, in a directory with these files. Every script can use `snap`, `settle`, `absent`
  /// and `try`, which writes down a command's status.
  init(_ name: String, in lab: Lab, files: [String: String] = [:], environment: [String: String] = [:], script: String)
    throws
  {
    host = try lab.host(name)
    directory = "\(lab.directory)/logs/\(name)"
    try Files.makeDirectory(directory)
    for (file, text) in files { try Files.write(text, to: "\(directory)/\(file)") }
    try Files.makeDirectory(host.privateDirectory("/etc/wireguard") + "/resolver")
    try Files.write(SnapshotScript.function + Self.functions + script, to: "\(directory)/script")
    try FakeResolver.install(in: lab)
    var environment = environment
    environment["PATH"] = "\(FakeResolver.directory(of: lab)):\(ProcessInfo.processInfo.environment["PATH"] ?? "")"
    environment["WG_QUICK_USERSPACE_IMPLEMENTATION"] = try Implementation.wireguardGo.daemon()
    program = try host.start(["sh", "\(directory)/script", directory], environment: environment)
  }

  var isRunning: Bool { program.isRunning }

  /// Waits for its end; one whose script itself failed is an error.
  func wait(within seconds: Double = 60) throws {
    try program.wait(within: seconds).orThrow()
  }

  func text(_ file: String) -> String { Files.text("\(directory)/\(file)") }

  func snapshot(_ file: String) throws -> Snapshot { try Snapshot(script: text(file)) }

  /// The status that a command of `try` ended with.
  func status(_ name: String) -> Int { Int(text("\(name).status").trimmed) ?? -1 }

  /// `network FILE` makes the machine's own network; `absent IF` waits until an interface, its daemon and its socket are
  /// gone, as they go after the command that asks for it has ended.
  private static let functions = """
    cd "$1" || exit 1
    [ ! -e hosts ] || mount --bind hosts /etc/hosts || exit 1
    network() {
      sysctl -qw net.ipv6.conf.default.dad_transmits=0
      ip -batch - <network && settle
    }
    try() {
      name=$1
      shift
      "$@" >"$name.log" 2>&1 </dev/null
      echo $? >"$name.status"
    }
    absent() {
      turns=0
      while [ $turns -lt 150 ]; do
        [ -e "/run/wireguard/$1.sock" ] || [ -e "/run/wg6/$1.asking" ] || ip link show dev "$1" >/dev/null 2>&1 || return 0
        sleep 0.02
        turns=$((turns + 1))
      done
    }

    """
}

extension Lab {
  /// Plays trials, so many at once, and hands each to `finish` in the order in which they were begun.
  func play<Plan>(_ plans: [Plan], atOnce: Int, start: (Plan) throws -> [Trial], finish: (Plan, [Trial]) throws -> Void)
    throws
  {
    var waiting: [(plan: Plan, trials: [Trial])] = []
    func finishFirst() throws {
      let (plan, trials) = waiting.removeFirst()
      for trial in trials { try trial.wait() }
      try finish(plan, trials)
      if !stays { for trial in trials { remove(trial.host) } }
    }
    for plan in plans {
      if waiting.count >= atOnce { try finishFirst() }
      waiting.append((plan, try start(plan)))
    }
    while !waiting.isEmpty { try finishFirst() }
  }
}

/// A `resolvconf` that remembers what it is told, and writes every request into /etc/wireguard/resolver.log.
enum FakeResolver {
  static func directory(of lab: Lab) -> String { lab.directory + "/programs" }

  static func install(in lab: Lab) throws {
    let path = directory(of: lab) + "/resolvconf"
    guard !Files.exists(path) else { return }
    try Files.makeDirectory(directory(of: lab))
    try Files.write(program, to: path, mode: 0o755)
  }

  private static let program = """
    #!/bin/sh
    state=/etc/wireguard/resolver
    log=/etc/wireguard/resolver.log
    case $1 in
      -a) text=$(cat); printf '%s\\n' "$text" >"$state/$2"; echo "$* <" $text >>$log ;;
      -d) echo "$*" >>$log; [ -e "$state/$2" ] || [ "$3" = -f ] || exit 1; rm -f "$state/$2" ;;
      -l) cat "$state/$2" ;;
      *) echo "resolvconf: not known here: $*" >&2; exit 1 ;;
    esac

    """
}
