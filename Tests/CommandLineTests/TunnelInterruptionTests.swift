import Foundation
import Testing

/// Signals while one of the file's commands runs.
@Suite(.serialized, .enabled(if: Programs.canCompareDevices, Programs.devicesAbsence))
struct `Signals while a file's command runs` {
  @Test(arguments: [("PreUp", SIGINT), ("PreUp", SIGTERM), ("PostUp", SIGTERM)])
  func `a signal to up ends the command that hangs, undoes everything, and is the exit status`(
    hook: String, signal: Int32
  ) throws {
    let space = try Namespace(device: false)
    let file = try configuration(space, "\(hook) = \(hanging(space))")
    let up = try start(["up", file], space)
    let sleeper = try sleeping(space)
    up.send(signal)
    #expect(up.wait() == 128 + signal)
    try waitUntil("nothing that the command had started runs") { hasEnded(sleeper) }
    #expect(try told(space).contains("interrupted"))
    #expect(!space.hasLink && !space.hasSocket)
    #expect(try space.wg6(["down", file]).errors == "\(space.interface): it is not up\n")
  }

  @Test func `a command that ignores signals is killed`() throws {
    let space = try Namespace(device: false)
    let up = try start(["up", configuration(space, "PreUp = trap '' TERM INT; \(hanging(space))")], space)
    let sleeper = try sleeping(space)
    up.send(SIGTERM)
    #expect(up.wait() == 128 + SIGTERM)
    try waitUntil("nothing that the command had started runs") { hasEnded(sleeper) }
    #expect(!space.hasLink && !space.hasSocket)
  }

  @Test func `each signal to down ends one command, and the tunnel goes down`() throws {
    let space = try Namespace(device: false)
    let trace = "\(space.directory.path)/last"
    let file = try configuration(
      space, "PreDown = \(hanging(space))\nPostDown = \(hanging(space))\nPostDown = touch \(trace)")
    try space.require(space.wg6(["up", file]))
    let down = try start(["down", file], space)
    for _ in 0..<2 {
      let sleeper = try sleeping(space)
      down.send(SIGTERM)
      try waitUntil("the command has ended") { hasEnded(sleeper) }
    }
    #expect(down.wait() == 128 + SIGTERM)
    #expect(FileManager.default.fileExists(atPath: trace))
    #expect(!space.hasLink && !space.hasSocket)
    #expect(try space.wg6(["down", file]).errors == "\(space.interface): it is not up\n")
  }

  @Test func `in the foreground, a second signal ends a command of the way down`() throws {
    let space = try Namespace(device: false)
    let up = try start(["up", "-v", "--foreground", configuration(space, "PreDown = \(hanging(space))")], space)
    try waitUntil("the tunnel is up") { try told(space).contains("serving until") }
    up.send(SIGTERM)
    let sleeper = try sleeping(space)
    up.send(SIGTERM)
    #expect(up.wait() == 0)
    try waitUntil("nothing that the command had started runs") { hasEnded(sleeper) }
    #expect(!space.hasLink && !space.hasSocket)
  }

  @Test func `at a terminal, a command reads what is typed, and Ctrl-C ends it`() throws {
    let space = try Namespace(device: false)
    let word = "\(space.directory.path)/word"
    let file = try configuration(space, "PreUp = read -r word < /dev/tty; echo \"$word\" > \(word); \(hanging(space))")
    // Types a word, and Ctrl-C once the command has gone on; says how the program ended.
    let script = """
      import os, pty, sys, time
      child, terminal = pty.fork()
      if child == 0: os.execv(sys.argv[2], sys.argv[2:])
      os.write(terminal, b"hello\\n")
      for _ in range(1000):
        if os.path.exists(sys.argv[1]) and os.path.getsize(sys.argv[1]): break
        time.sleep(0.01)
      os.write(terminal, b"\\x03")
      try:
        while os.read(terminal, 4096): pass
      except OSError: pass
      print(os.waitpid(child, 0)[1] & 127)
      """
    let outcome = try space.inside(
      "/usr/bin/env", ["python3", "-c", script, pidFile(space), Programs.wg6, "up", file],
      environment: ["WG6D": Programs.daemon!])
    #expect(outcome.output == "\(SIGINT)\n", "\(outcome)")
    #expect(try String(contentsOfFile: word, encoding: .utf8) == "hello\n")
    let sleeper = try sleeping(space)
    try waitUntil("nothing that the command had started runs") { hasEnded(sleeper) }
    #expect(!space.hasLink && !space.hasSocket)
  }

  @Test func `a shell stops and continues a command of the file with Ctrl-Z and fg`() throws {
    let space = try Namespace(device: false)
    let file = try configuration(space, "PreUp = \(hanging(space))")
    let script = """
      import os, pty, sys, threading, time
      shell, terminal = pty.fork()
      if shell == 0: os.execv("/bin/bash", ["bash", "--norc", "--noprofile", "-i"])
      said = b""
      def listen():
        global said
        try:
          while True: said += os.read(terminal, 4096)
        except OSError: pass
      threading.Thread(target=listen, daemon=True).start()
      def stat(process): return open(f"/proc/{process}/stat").read().rsplit(")", 1)[1].split()
      def children():
        found = []
        for name in os.listdir("/proc"):
          try:
            if name.isdigit() and stat(name)[1] == str(shell): found.append(name)
          except OSError: pass
        return found
      def wait(what, condition):
        for _ in range(1000):
          if condition(): return
          time.sleep(0.01)
        sys.exit("in vain: " + what + repr(said))
      os.write(terminal, " ".join(sys.argv[2:]).encode() + b"\\n")
      wait("the command runs", lambda: os.path.exists(sys.argv[1]) and os.path.getsize(sys.argv[1]))
      up = children()[0]
      os.write(terminal, b"\\x1a")
      wait("both stop", lambda: stat(up)[0] == "T" and b"Stopped" in said)
      os.write(terminal, b"fg\\n")
      wait("up goes on, and the command has the terminal", lambda: stat(up)[0] == "S" and stat(up)[5] != stat(up)[2])
      os.write(terminal, b"\\x03")
      wait("up ends", lambda: not children())
      os.write(terminal, b"echo status=$?; exit\\n")
      wait("the status", lambda: b"status=130" in said)
      """
    let outcome = try space.inside(
      "/usr/bin/env", ["python3", "-c", script, pidFile(space), Programs.wg6, "up", file],
      environment: ["WG6D": Programs.daemon!])
    #expect(outcome.status == 0, "\(outcome.errors)")
    let sleeper = try sleeping(space)
    try waitUntil("nothing that the command had started runs") { hasEnded(sleeper) }
    #expect(!space.hasLink && !space.hasSocket)
  }

  // MARK: Surroundings

  private func pidFile(_ space: Namespace) -> String { "\(space.directory.path)/sleeper" }

  /// A command that starts a program and waits for it. Only builtins stand around the program: a shell that gets Ctrl-C while
  /// it waits for a command that ends well goes on. And the program has to run, as only then it ignores Ctrl-C.
  private func hanging(_ space: Namespace) -> String {
    "sleep 1000 & while read -r name < /proc/$!/comm && [ $name != sleep ]; do :; done; echo $! > \(pidFile(space)); wait"
  }

  /// The program that a hanging command has started.
  private func sleeping(_ space: Namespace) throws -> Int32 {
    var process: Int32?
    try waitUntil("the command runs") {
      process = (try? String(contentsOfFile: pidFile(space), encoding: .utf8)).flatMap {
        Int32($0.trimmingCharacters(in: .newlines))
      }
      return process != nil
    }
    try? FileManager.default.removeItem(atPath: pidFile(space))
    return try #require(process)
  }

  /// One that nobody waited for counts as ended.
  private func hasEnded(_ process: Int32) -> Bool {
    FileManager.default.contents(atPath: "/proc/\(process)/cmdline")?.isEmpty ?? true
  }

  private func start(_ arguments: [String], _ space: Namespace) throws -> Running {
    let log = try space.file("log", "")
    return try Running(
      Programs.ip!, ["netns", "exec", space.name, Programs.wg6] + arguments, environment: ["WG6D": Programs.daemon!],
      files: ["/dev/null", "/dev/null", log])
  }

  private func told(_ space: Namespace) throws -> String {
    try String(contentsOfFile: "\(space.directory.path)/log", encoding: .utf8)
  }

  private func configuration(_ space: Namespace, _ lines: String) throws -> String {
    try space.file(
      "\(space.interface).conf",
      """
      [Interface]
      PrivateKey = \(try keyPair().private)
      Address = 10.9.0.1/24
      \(lines)
      [Peer]
      PublicKey = \(try keyPair().public)
      AllowedIPs = 10.8.0.0/16
      Endpoint = 127.0.0.1:5555

      """)
  }
}
