import Logging
import WG6Linux

/// The log of a daemon in the background: the machine's own.
struct SystemLogHandler: LogHandler {
  private let log: SystemLog
  var logLevel = Logger.Level.notice
  var metadata: Logger.Metadata = [:]

  init(interface: String) {
    log = SystemLog(program: "wg6d", interface: interface)
  }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    log.write(event.message.description, SystemLogHandler.priority(event.level))
  }

  private static func priority(_ level: Logger.Level) -> SystemLog.Priority {
    switch level {
    case .trace, .debug: .debug
    case .info: .info
    case .notice: .notice
    case .warning: .warning
    case .error, .critical: .error
    }
  }
}
