import Foundation
import Testing

@testable import WG6Harness

/// What the harness itself promises, as far as it can be seen without root.
@Suite("The harness")
struct HarnessTests {
  @Test("A lab's name tells its owner, and only such names count as ours")
  func labNames() {
    #expect(LabName.owner(of: "4242a") == 4242)
    #expect(LabName.owner(of: "4242") == nil)
    #expect(LabName.owner(of: "a") == nil)
    #expect(LabName.owner(of: "12x3") == nil)
    #expect(LabName.lab(ofNamespace: "wg6-4242ba-home") == "4242ba")
    #expect(LabName.lab(ofNamespace: "wg6-home") == nil)
    #expect(LabName.lab(ofNamespace: "other-4242a-home") == nil)
    #expect([0, 25, 26, 27].map(LabName.letters) == ["a", "z", "ba", "bb"])
  }

  @Test("A program's status, output and complaints are what it left")
  func programs() throws {
    let directory = try TemporaryDirectory()
    let program = try Program(
      ["sh", "-c", "cat; echo no >&2; exit 3"], title: "sh", environment: [:], input: "yes\n",
      output: directory.path + "/program")
    let outcome = try program.wait(within: 20)
    #expect(outcome.status == 3)
    #expect(outcome.line == "yes")
    #expect(outcome.complaints == "no\n")
    #expect(throws: ProgramFailed.self) { try outcome.orThrow() }
  }

  @Test("A program that outstays its time is killed and reported")
  func overdue() throws {
    let directory = try TemporaryDirectory()
    let program = try Program(
      ["sleep", "600"], title: "sleep", environment: [:], input: nil, output: directory.path + "/program")
    #expect(throws: Overdue.self) { try program.wait(within: 0.1) }
    #expect(program.stop() == 128 + SIGKILL)
  }

  @Test("An archive of ours is one that cpio reads", .enabled(if: access("/usr/bin/busybox", X_OK) == 0))
  func archives() throws {
    let directory = try TemporaryDirectory()
    var archive = CPIO()
    archive.directory("sub")
    archive.file("sub/odd", [1, 2, 3], executable: true)
    archive.file("empty", [])
    archive.link("link", to: "sub/odd")
    archive.finish()
    try Files.write(archive.bytes, to: directory.path + "/archive")
    let program = try Program(
      [
        "sh", "-c",
        "cd \(directory.path) && busybox cpio -i <archive && readlink link && wc -c <sub/odd && test -x link",
      ],
      title: "cpio", environment: [:], input: nil, output: directory.path + "/program")
    #expect(try program.wait(within: 20).orThrow().lines == ["sub/odd", "3"])
  }

  @Test("The same seed throws the same dice")
  func seeds() {
    var (first, second) = (SeededGenerator(seed: 7), SeededGenerator(seed: 7))
    #expect((0..<10).map { _ in first.next() } == (0..<10).map { _ in second.next() })
  }

  @Test("Every scenario has a name of its own")
  func scenarioNames() {
    #expect(Set(Scenario.all.map(\.name)).count == Scenario.all.count)
  }
}

/// A directory that goes with its owner.
final class TemporaryDirectory {
  let path: String

  init() throws {
    var template = Array("/tmp/wg6-harness-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw SystemFailure("make a temporary directory") }
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  deinit { Files.remove(path) }
}
