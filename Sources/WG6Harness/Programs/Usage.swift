import Foundation

/// What a running program uses of the machine, as `/proc` tells it.
struct Usage {
  /// KiB of memory that is there now, and that was there at the most since `forgetPeak`.
  let residentKiB: Int
  let peakKiB: Int
  /// Seconds of processor time, user's and kernel's, by the threads' names.
  let seconds: [String: Double]
  /// Seconds that the first thread was ready to run, and had no processor.
  let starved: Double

  init(of pid: pid_t) {
    let status = Files.text("/proc/\(pid)/status")
    residentKiB = Usage.number("VmRSS:", in: status)
    peakKiB = Usage.number("VmHWM:", in: status)
    var seconds: [String: Double] = [:]
    for thread in Files.names(in: "/proc/\(pid)/task") {
      let place = "/proc/\(pid)/task/\(thread)"
      guard let time = Files.text(place + "/schedstat").split(separator: " ").first.flatMap({ Double($0) }) else {
        continue
      }
      seconds[Files.text(place + "/comm").trimmed, default: 0] += time / 1e9
    }
    self.seconds = seconds
    let schedule = Files.text("/proc/\(pid)/task/\(pid)/schedstat").split(separator: " ")
    starved = schedule.count > 1 ? (Double(schedule[1]) ?? 0) / 1e9 : 0
  }

  /// Seconds of processor time of all its threads.
  var totalSeconds: Double { seconds.values.reduce(0, +) }

  /// Seconds that all of the machine's processors together have worked since it was started, whoever for.
  static func ofTheMachine() -> Double {
    // "cpu user nice system idle iowait irq softirq steal …", in ticks; guests' time is in user's already.
    let line = Files.text("/proc/stat").split(separator: "\n").first ?? ""
    let ticks = line.split(separator: " ").dropFirst().prefix(7).map { Double($0) ?? 0 }
    guard ticks.count == 7 else { return 0 }
    let idle = ticks[3] + ticks[4]
    return (ticks.reduce(0, +) - idle) / Double(sysconf(Int32(_SC_CLK_TCK)))
  }

  /// Makes the peak count from now on.
  static func forgetPeak(of pid: pid_t) throws {
    let descriptor = open("/proc/\(pid)/clear_refs", O_WRONLY | O_CLOEXEC)
    defer { close(descriptor) }
    guard Glibc.write(descriptor, "5", 1) == 1 else { throw SystemFailure("reset the peak of \(pid)") }
  }

  /// What share of one processor each thread had since `earlier`, and all of them together.
  func shares(since earlier: Usage, over time: Double) -> (text: String, total: Double, of: [String: Double]) {
    let shares = seconds.map { (name: $0.key, share: ($0.value - (earlier.seconds[$0.key] ?? 0)) / time) }
    let total = shares.reduce(0) { $0 + $1.share }
    let text = shares.sorted { $0.name < $1.name }.map { "\($0.name) \(Usage.percent($0.share))" }
    return (text.joined(separator: ", "), total, Dictionary(shares) { $0 + $1 })
  }

  static func percent(_ share: Double) -> String { "\(Int((share * 100).rounded()))%" }

  private static func number(_ label: String, in text: String) -> Int {
    text.split(separator: "\n").first { $0.hasPrefix(label) }.flatMap { Int($0.filter(\.isNumber)) } ?? 0
  }
}
