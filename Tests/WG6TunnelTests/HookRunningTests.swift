import Testing

@testable import WG6Tunnel

@Suite struct `A command of the file` {
  /// What is announced, and the error, of a run of these commands.
  private func run(_ commands: String...) -> (announced: [String], error: String?) {
    var announced: [String] = []
    let tunnel = Tunnel("wg0", tell: { _ in }, warn: { _ in }, announce: { announced.append($0) })
    do throws(TunnelError) {
      try tunnel.runHooks(commands, "")
      return (announced, nil)
    } catch {
      return (announced, "\(error)")
    }
  }

  @Test func `has the interface's name wherever it says so, and nothing else is replaced`() {
    let text = "test '%i %% %x %i%i 5%' = 'wg0 %'\"% %\"'x wg0wg0 5%'"
    let (announced, error) = run(text)
    #expect(error == nil)
    #expect(announced == ["[#] test 'wg0 %% %x wg0wg0 5%' = 'wg0 %'\"% %\"'x wg0wg0 5%'"])
  }

  @Test func `that fails is the last, with its status or signal in the message`() {
    #expect(run("true", "exit 7", "true") == (["[#] true", "[#] exit 7"], "'exit 7' ended with status 7"))
    #expect(run("kill -9 $$", "true") == (["[#] kill -9 $$"], "'kill -9 $$' was ended by signal 9"))
    // As wg-quick has set its shell.
    #expect(run("false; true").error == "'false; true' ended with status 1")
    #expect(run("false | true").error == "'false | true' ended with status 1")
    #expect(run("test \"$LC_ALL\" = C").error == nil)
  }
}
