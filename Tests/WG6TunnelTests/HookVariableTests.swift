import Foundation
import Testing

@testable import WG6Tunnel

@Suite struct `What hooks find in their shell` {
  @Test func `every value reaches bash as it stands in the file`() throws {
    let file = TunnelFile(
      try configuration(
        """
        [Interface]
        PrivateKey = \(ownKey)
        Address = 10.0.0.1, fd00::1/64
        Address = 10.0.0.1/30
        DNS = fe80::1%eth0 192.0.2.53 corp.example ~a.example
        MTU = 0x578
        Table = OFF
        SaveConfig = yes
        PreUp = echo 'a  b' "$HOME" `date` \\ %i
        """), path: "/tmp/it's here/wgt.conf", runsHooks: true)
    let variables = HookVariables(file, interface: "wgt")
    #expect(!variables.assignments.contains("\n"))
    let prelude = HookVariables(assignments: variables.assignments).prelude(
      program: "/opt/wg6/bin/wg6", verb: "up", states: "HAVE_SET_DNS=1")
    let script =
      prelude + """
        printf '%s\\n' "$INTERFACE" "$CONFIG_FILE" "${#ADDRESSES[@]}" "${ADDRESSES[@]}" "${DNS[@]}" "${DNS_SEARCH[@]}" \
        "$MTU" "$TABLE" "$SAVE_CONFIG" "${PRE_UP[@]}" "${#POST_UP[@]}" "x$WG_CONFIG" "$PROGRAM" "$SELF" "${ARGS[@]}" \
        "$HAVE_SET_DNS" "${PATH%%:*}"
        cmd echo done 2>&1; (die gone) 2>&1 || echo "status $?"
        """
    #expect(
      try bash(script) == [
        "wgt", "/tmp/it's here/wgt.conf", "3", "10.0.0.1", "fd00::1/64", "10.0.0.1/30", "fe80::1%eth0", "192.0.2.53",
        "corp.example", "~a.example", "0x578", "off", "1", "echo 'a  b' \"$HOME\" `date` \\ %i", "0", "x", "wg6",
        "/opt/wg6/bin/wg6", "up", "wgt", "1", "/opt/wg6/bin", "[#] echo done", "done", "wg6: gone", "status 1",
      ])
    #expect(!prelude.contains(ownKey))
  }

  @Test func `what the file does not have is empty`() throws {
    let file = TunnelFile(try configuration("[Interface]\n"), path: "/etc/wireguard/wgt.conf", runsHooks: true)
    let prelude = HookVariables(file, interface: "wgt").prelude(program: "wg6", verb: "down", states: "")
    #expect(try bash(prelude + "echo ${#ADDRESSES[@]} ${#DNS[@]} x${MTU}x x${TABLE}x $SAVE_CONFIG") == ["0 0 xx xx 0"])
    // A journal of before had no variables.
    let none = HookVariables(assignments: "").prelude(program: "/bin/wg6", verb: "down", states: "")
    #expect(try bash(none + "echo x${INTERFACE}x") == ["xx"])
  }

  private func bash(_ script: String) throws -> [String] {
    let process = Process()
    let pipe = Pipe()
    process.executableURL = URL(filePath: "/bin/bash")
    process.arguments = ["-e", "-o", "pipefail", "-O", "extglob", "-c", script]
    process.environment = ["PATH": "/usr/bin:/bin"]
    process.standardOutput = pipe
    try process.run()
    let output = try pipe.fileHandleForReading.readToEnd() ?? Data()
    process.waitUntilExit()
    #expect(process.terminationStatus == 0)
    return String(decoding: output, as: UTF8.self).split(separator: "\n").map(String.init)
  }
}
