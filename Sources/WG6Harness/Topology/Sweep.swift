import Foundation

/// Clears away labs: one's own at the end, and those whose owner died before it could.
///
/// Works from what the kernel shows, not from what a process remembers, so that a crash, a Ctrl-C and a regular end all
/// take the same way.
public enum Sweep {
  /// Clears every lab whose owner is gone and that nobody wanted to keep.
  public static func abandoned() {
    for lab in labs() where !isAlive(lab) && !Files.exists(LabName.directory(lab) + "/kept") { clear(lab) }
  }

  /// Clears every lab whose owner is gone, also those that were kept. Returns their names.
  @discardableResult
  public static func everything() -> [String] {
    let dead = labs().filter { !isAlive($0) }
    for lab in dead { clear(lab) }
    return dead
  }

  /// Clears the labs of this process, from a signal's thread for example.
  public static func own() {
    for lab in labs() where LabName.owner(of: lab) == getpid() && !Files.exists(LabName.directory(lab) + "/kept") {
      clear(lab)
    }
  }

  /// Ends the programs of a lab, each by its pid, and removes its namespaces and its directory.
  static func clear(_ lab: String) {
    clear(namespaces: Files.names(in: "/run/netns").filter { LabName.lab(ofNamespace: $0) == lab })
    Files.remove(LabName.directory(lab))
  }

  /// Ends the programs that live in them, each by its pid, and removes them.
  static func clear(namespaces: [String]) {
    for signal in [SIGTERM, SIGKILL] {
      let living = namespaces.flatMap(processes(inNamespace:))
      if living.isEmpty { break }
      for pid in living { kill(pid, signal) }
      try? waitUntil("the lab's programs end", within: 1.5, every: 0.02) {
        // Children of this process become zombies first, which have left their namespace.
        namespaces.flatMap(processes(inNamespace:)).isEmpty
      }
    }
    for namespace in namespaces { quietly("ip", "netns", "del", namespace) }
  }

  /// The processes in a network namespace. Read from /proc, which also works while this process is being shut down.
  static func processes(inNamespace namespace: String) -> [pid_t] {
    var wanted = stat()
    guard stat("/run/netns/\(namespace)", &wanted) == 0 else { return [] }
    return Files.names(in: "/proc").compactMap { pid_t($0) }.filter { pid in
      var its = stat()
      return pid != getpid() && stat("/proc/\(pid)/ns/net", &its) == 0 && its.st_ino == wanted.st_ino
        && its.st_dev == wanted.st_dev
    }
  }

  /// Every lab that has left a trace on this machine.
  static func labs() -> [String] {
    let named = Files.names(in: "/run/netns").compactMap(LabName.lab(ofNamespace:))
    let stored = Files.names(in: LabName.root).filter { LabName.owner(of: $0) != nil }
    return Set(named + stored).sorted()
  }

  /// Whether a lab's owner still runs. A process that started after the lab was made only inherited the number.
  private static func isAlive(_ lab: String) -> Bool {
    guard let pid = LabName.owner(of: lab), kill(pid, 0) == 0 else { return false }
    var made = stat()
    guard stat(LabName.directory(lab), &made) == 0, let started = startTime(of: pid) else { return true }
    return started < Double(made.st_ctim.tv_sec) + 2
  }

  /// When a process started, in seconds since 1970.
  private static func startTime(of pid: pid_t) -> Double? {
    let fields = Files.text("/proc/\(pid)/stat").split(separator: ")").last?.split(separator: " ") ?? []
    let boot = Files.text("/proc/stat").split(whereSeparator: \.isNewline).first { $0.hasPrefix("btime ") }
    guard fields.count > 19, let ticks = Double(fields[19]), let boot, let base = Double(boot.dropFirst(6)) else {
      return nil
    }
    return base + ticks / Double(sysconf(Int32(_SC_CLK_TCK)))
  }

  private static func quietly(_ words: String...) {
    let streams = Spawner.Streams(output: "/dev/null", complaints: "/dev/null")
    guard let pid = try? Spawner.shared.spawn(words, streams: streams) else { return }
    var status: Int32 = 0
    waitpid(pid, &status, 0)
  }
}
