import Foundation
import SystemPackage
import Testing

@testable import WG6Tunnel

@Suite struct InterfaceLockTests {
  @Test func `one holds the lock at a time, and leaves it to the next`() throws {
    let directory = FileManager.default.temporaryDirectory.appending(path: "wg6-lock-\(UUID())").path
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: directory) }
    func second() throws { _ = try InterfaceLock("wg0", in: directory) }
    do {
      let first = try InterfaceLock("wg0", in: directory)
      #expect(throws: Errno.wouldBlock) { try second() }
      _ = try InterfaceLock("wg1", in: directory)
      _ = consume first
    }
    try second()
  }
}
