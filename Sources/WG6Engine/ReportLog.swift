import Logging
import WG6Config
import WG6Protocol

/// Tells what the device reports, at debug level, and no more of it than a reader can take: two hundred lines at once,
/// twenty a second. What was left out is counted in the next line. A flood fills no disk.
struct ReportLog {
  private static let interval = 50 * Limits.millisecond
  private static let burst = 200 * interval

  private var bucket = TokenBucket()
  private var untold = 0

  mutating func tell(_ report: Device.Report, to log: Logger, now: Nanoseconds) {
    guard log.logLevel <= .debug else { return }
    guard bucket.take(at: now, interval: ReportLog.interval, burst: ReportLog.burst) else {
      untold += 1
      return
    }
    log.debug("\(report)\(untold == 0 ? "" : " (\(counted(untold, "report")) before it left out)")")
    untold = 0
  }
}
