import Foundation
import SystemPackage
import Testing

@testable import WG6Tunnel

@Suite struct `The lock of a tunnel` {
  @Test func `one holds it at a time, leaves it to the next, and leaves no file`() throws {
    try withDirectory { directory in
      let first = try InterfaceLock("wg0", in: directory)
      #expect(throws: Errno.wouldBlock) { try InterfaceLock("wg0", in: directory) }
      try InterfaceLock("wg1", in: directory).release()
      first.release()
      #expect(try FileManager.default.contentsOfDirectory(atPath: directory).isEmpty)
      try InterfaceLock("wg0", in: directory).release()
    }
  }
}
