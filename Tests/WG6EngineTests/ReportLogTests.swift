import Logging
import Synchronization
import Testing
import WG6Crypto
import WG6Protocol

@testable import WG6Engine

@Suite struct `What the device reports` {
  /// Keeps the lines that a logger writes.
  private final class Lines: LogHandler, @unchecked Sendable {
    let written = Mutex<[String]>([])
    var logLevel: Logger.Level = .debug
    var metadata: Logger.Metadata = [:]

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
      get { nil }
      set {}
    }

    func log(event: LogEvent) {
      written.withLock { $0.append("\(event.level): \(event.message)") }
    }
  }

  private let lines = Lines()
  private let report = Device.Report.messageDropped(.badMac1, from: nil)

  private func flood(_ log: inout ReportLog, _ logger: Logger, _ count: Int, at now: Nanoseconds) -> [String] {
    lines.written.withLock { $0 = [] }
    for _ in 0..<count { log.tell(report, to: logger, now: now) }
    return lines.written.withLock { $0 }
  }

  @Test func `is told at debug level, twenty lines a second in a flood, and how many were left out`() {
    let logger = Logger(label: "test") { _ in lines }
    var log = ReportLog()
    #expect(flood(&log, logger, 50_000, at: 1000 * Limits.second).count == 200)
    let next = flood(&log, logger, 50_000, at: 1001 * Limits.second)
    #expect(next.count == 20)
    #expect(next.first?.contains("49800 reports before it left out") == true)
    #expect(next.dropFirst().allSatisfy { !$0.contains("left out") && $0.hasPrefix("debug: ") })
  }

  @Test func `is not told above debug level`() {
    var logger = Logger(label: "test") { _ in lines }
    logger.logLevel = .info
    var log = ReportLog()
    #expect(flood(&log, logger, 1000, at: 1000 * Limits.second).isEmpty)
  }
}
