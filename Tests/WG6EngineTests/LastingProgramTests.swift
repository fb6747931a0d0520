import Foundation
import Testing
import WG6Linux

@Suite struct `A program that outlives its caller` {
  @Test(arguments: ["LOG_LEVEL", "PATH", "TZ", "WG_TUN_FD", "WG_HIDE_KEYS", "WG6_KEYS", "WG6_READY_FD", "WG6D"])
  func `keeps what sets it`(name: String) {
    #expect(LastingEnvironment.keeps(name))
  }

  @Test(arguments: ["HOME", "SSH_AUTH_SOCK", "AWS_SECRET_ACCESS_KEY", "LD_PRELOAD", "WGET_OPTS", "XPATH", "PATHS", ""])
  func `keeps nothing else`(name: String) {
    #expect(!LastingEnvironment.keeps(name))
  }

  @Test func `is in the root directory, in a session of its own`() throws {
    setenv("WG6_TEST_KEPT", "here", 1)
    setenv("TEST_NOT_KEPT", "gone", 1)
    defer {
      unsetenv("WG6_TEST_KEPT")
      unsetenv("TEST_NOT_KEPT")
    }
    let file = FileManager.default.temporaryDirectory.appending(path: "wg6-lasting-\(UUID())").path
    defer { try? FileManager.default.removeItem(atPath: file) }
    let script = "{ pwd; env; ps -o sid= -p $$ | tr -d ' '; echo $$; } > \(file)"
    let child = try Child("/bin/sh", ["-c", script], outlivesCaller: true)
    #expect(try child.wait() == .exited(0))
    let lines = try String(contentsOfFile: file, encoding: .utf8).split(separator: "\n").map(String.init)
    #expect(lines.first == "/" && lines.contains("WG6_TEST_KEPT=here"))
    #expect(lines.suffix(2).allSatisfy { $0 == "\(child.processID)" })
    // A shell adds some of its own.
    let names = lines.dropFirst().dropLast(2).map { $0.prefix { $0 != "=" } }
    #expect(names.allSatisfy { LastingEnvironment.keeps($0) || ["PWD", "SHLVL", "_", "OLDPWD"].contains($0) })
  }
}

@Suite struct `A directory of root's` {
  @Test(
    arguments: [(0o700, 0, nil), (0o755, 0, nil), (0o775, 0, "written by others"), (0o1777, 0, "written by others")]
      + (getuid() == 0 ? [(0o700, 65534, "belongs to user 65534")] : []) as [(mode_t, uid_t, String?)])
  func `is trusted where nobody else could have put something into it`(mode: mode_t, owner: uid_t, problem: String?)
    throws
  {
    let path = FileManager.default.temporaryDirectory.appending(path: "wg6-directory-\(UUID())").path
    #expect(RootsDirectory.problem(of: path) == nil)
    try #require(mkdir(path, 0o700) == 0 && chmod(path, mode) == 0)
    defer { rmdir(path) }
    if owner != 0 { try #require(chown(path, owner, owner) == 0) }
    let found = RootsDirectory.problem(of: path)
    #expect(problem == nil ? found == nil : found?.contains("\(path) ") == true && found!.contains(problem!))
  }

  @Test func `is no link to one`() throws {
    let path = FileManager.default.temporaryDirectory.appending(path: "wg6-directory-\(UUID())").path
    try #require(symlink("/run", path) == 0)
    defer { unlink(path) }
    #expect(RootsDirectory.problem(of: path)?.contains("is no directory") == true)
  }
}
