import Foundation
import SystemPackage
import Testing
import WG6Linux

@testable import WG6Tunnel

@Suite(.enabled(if: OwnMachine.isPossible, OwnMachine.absence)) struct `A file with commands` {
  @Test(
    arguments: [
      (0o600, 0o700, true), (0o644, 0o755, true), (0o602, 0o700, false), (0o620, 0o700, false), (0o1622, 0o700, false),
      (0o600, 0o702, false), (0o600, 0o720, false), (0o600, 0o1777, true),
    ] as [(mode_t, mode_t, Bool)])
  func `is trusted where only root can write it or put another in its place`(
    file: mode_t, directory: mode_t, isTrusted: Bool
  ) throws {
    try withDirectory { parent in
      let place = "\(parent)/place", path = "\(place)/wg0.conf"
      try #require(mkdir(place, 0o700) == 0)
      let descriptor = OwnedDescriptor(open(path, O_CREAT | O_RDWR, 0o600))
      try #require(chmod(path, file) == 0 && chmod(place, directory) == 0)
      let problem = FileOwnership.problem(of: path, opened: descriptor.rawValue)
      #expect((problem == nil) == isTrusted, "\(String(describing: problem))")
      // Another user's, whatever its mode.
      try #require(chown(path, 1, 1) == 0)
      #expect(FileOwnership.problem(of: path, opened: descriptor.rawValue) == "\(path) belongs to user 1")
      #expect(FileOwnership.problem(of: path, opened: -1) != nil)
    }
  }
}
