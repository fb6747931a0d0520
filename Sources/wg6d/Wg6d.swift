import CLinux
import Glibc
import Logging
import WG6Crypto
import WG6Engine
import WG6Linux

/// The daemon: one WireGuard interface, driven over its control socket. A drop-in for wireguard-go.
@main
struct Wg6d {
  static let version = "0.1.0"

  static func main() {
    let arguments: Arguments
    switch Arguments.parse(Array(CommandLine.arguments.dropFirst())) {
    case .run(let parsed): arguments = parsed
    case .print(let text):
      print(text)
      exit(0)
    case .misuse(let text): fail(text, status: 64)
    }

    prepareProcess()
    // Keys will live here: no core dump, no debugger.
    guard linux_prevent_core_dumps() == 0 else { fail("cannot turn core dumps off: errno \(errno)") }
    guard prepareCryptography() else { fail("libsodium does not work on this machine") }
    if arguments.staysInForeground { run(arguments) } else { Background.start(arguments) }
  }

  /// What a long-lived process needs of its surroundings: standard streams that are open, so that no socket takes their
  /// numbers and gets the log; and no death by a reader that went away.
  private static func prepareProcess() {
    var descriptor = unsafe open("/dev/null", O_RDWR)
    while (0...STDERR_FILENO).contains(descriptor) { descriptor = unsafe open("/dev/null", O_RDWR) }
    if descriptor >= 0 { close(descriptor) }
    signal(SIGPIPE, SIG_IGN)
  }

  /// Makes the interface, says that it is ready, and works until the end.
  private static func run(_ arguments: Arguments) -> Never {
    let readiness = Readiness()
    var sources = Engine.Sources(interface: arguments.interface)
    sources.tunDescriptor = Environment.descriptor("WG_TUN_FD")
    sources.controlDescriptor = Environment.descriptor("WG_UAPI_FD")
    sources.offloads = Offloads.all.without(arguments.disabledOffloads)
    sources.cipher = arguments.cipher
    sources.threads = arguments.threads
    sources.reloader = Environment.value("WG6_RELOAD")
    let isInBackground = readiness.isAwaited
    let log = Logger(label: "wg6d") { label in
      Environment.logHandler(label, interface: isInBackground ? arguments.interface : nil)
    }
    do throws(StartError) {
      let engine = try Engine(sources, log: log)
      readiness.ready()
      let ending = try engine.run()
      log.debug("ended: \(ending)")
    } catch {
      readiness.failed(error.description)
      fail(error.description)
    }
    exit(0)
  }

  static func fail(_ message: String, status: Int32 = 1) -> Never {
    var error = StandardError()
    print("wg6d: \(message)", to: &error)
    exit(status)
  }
}

/// What the command line says; short enough to be read by hand, and the daemon carries no parser for more.
struct Arguments {
  var interface: String
  var staysInForeground: Bool
  var disabledOffloads: Offloads
  /// nil for the best.
  var cipher: TrainCipher.Kind?
  var threads: Int

  enum Outcome {
    case run(Arguments)
    case print(String)
    case misuse(String)
  }

  static let usage = """
    usage: wg6d [-f | --foreground] [--no-offload[=LIST]] [--threads=N] [--] INTERFACE

    Makes INTERFACE, a WireGuard tunnel without any configuration, and listens on
    \(ControlSocket.directory)/INTERFACE.sock for it (`wg set`, `wg6 set`). Goes to the
    background once the interface is there, or stays in the foreground with -f.
    Ends when the interface is deleted, when the socket's file is removed, and on
    SIGTERM, SIGINT and SIGHUP; the interface goes with it. Under wg6 up, SIGHUP has
    wg6 reload the file instead.

    --no-offload does without what the kernel and network cards can do for many packets
    at once, or, with a LIST of names and commas between them, without these:
    \(Offloads.kinds.map { "  \($0.name)  \($0.meaning)" }.joined(separator: "\n"))
    What this machine lacks is not used anyway.

    --threads=N has N threads carry data, 2 to 64. Two are enough but for a machine with
    processors to spare; from the third on they take work off the first two.

    In the background it is in the root directory, and keeps of its environment PATH, TZ,
    LD_LIBRARY_PATH, and the variables below.

    Environment:
      LOG_LEVEL              silent, error, or verbose (debug is the same); without it,
                             errors and what is missing on this machine. In the background
                             they go to the journal or syslog, and to standard error too
                             if LOG_LEVEL is set
      WG_PROCESS_FOREGROUND  1 is the same as -f
      WG6_NO_OFFLOAD         all or a LIST: the same as --no-offload
      WG6_CIPHER             sodium: what does the work on every machine; vector: ipsec-mb,
                             or fail; without it, the faster one that works here
      WG6_THREADS            a number: the same as --threads
      WG_TUN_FD, WG_UAPI_FD  descriptors to use in place of a new interface and socket
    """

  static func parse(_ words: [String]) -> Outcome {
    var foreground = Environment.value("WG_PROCESS_FOREGROUND") == "1"
    var disabled: Offloads = []
    var names: [String] = []
    do throws(UnknownOffload) {
      if let list = Environment.value("WG6_NO_OFFLOAD"), !list.isEmpty { disabled = try Offloads(named: list) }
    } catch {
      return .misuse("WG6_NO_OFFLOAD: \(error)")
    }
    var threads = Environment.value("WG6_THREADS") ?? ""
    var cipher: TrainCipher.Kind?
    switch Environment.value("WG6_CIPHER") ?? "" {
    case "": break
    case "sodium": cipher = .sodium
    case "vector": cipher = .vector
    case let other: return .misuse("WG6_CIPHER is '\(other)': expected sodium or vector")
    }
    var isOption = true
    for word in words {
      switch word {
      case _ where !isOption: names.append(word)
      case "--": isOption = false
      case "-f", "--foreground": foreground = true
      case "--no-offload": disabled = .all
      case _ where word.hasPrefix(noOffload):
        do throws(UnknownOffload) {
          disabled.formUnion(try Offloads(named: String(word.dropFirst(noOffload.count))))
        } catch {
          return .misuse("--no-offload: \(error)")
        }
      case _ where word.hasPrefix(threadsOption): threads = String(word.dropFirst(threadsOption.count))
      case "-h", "--help": return .print(usage)
      case "--version": return .print("wg6d \(Wg6d.version)")
      case _ where word.hasPrefix("-"): return .misuse("unknown option \(word)\n\(usage)")
      default: names.append(word)
      }
    }
    guard names.count == 1, let interface = names.first else {
      return .misuse("expected one interface name\n\(usage)")
    }
    if let problem = ControlSocket.nameProblem(interface) { return .misuse(problem) }
    let most = Engine.Sources.mostThreads
    guard let threads = threads.isEmpty ? defaultThreads : Int(threads), (2...most).contains(threads) else {
      return .misuse("'\(threads)' is no number of threads: expected 2 to \(most)")
    }
    return .run(
      Arguments(
        interface: interface, staysInForeground: foreground, disabledOffloads: disabled, cipher: cipher,
        threads: threads))
  }

  private static let noOffload = "--no-offload="
  private static let threadsOption = "--threads="
  private static let defaultThreads = 2

  /// The command line for the same in the foreground, which the environment asks for.
  var forChild: [String] {
    var options: [String] = []
    if !disabledOffloads.isEmpty { options.append("\(Arguments.noOffload)\(disabledOffloads)") }
    if threads != Arguments.defaultThreads { options.append("\(Arguments.threadsOption)\(threads)") }
    return options + Child.argument(interface)
  }
}

/// What the environment says, by wireguard-go's names.
enum Environment {
  static func value(_ name: String) -> String? {
    unsafe getenv(name).map { unsafe String(cString: $0) }
  }

  static func descriptor(_ name: String) -> Int32? {
    guard let value = value(name) else { return nil }
    guard let descriptor = Int32(value), descriptor >= 0 else { Wg6d.fail("\(name) is '\(value)', expected a number") }
    return descriptor
  }

  static var isSilent: Bool { value("LOG_LEVEL") == "silent" }

  /// Whether the log was asked for, so that a daemon in the background keeps its standard error.
  static var wantsLog: Bool { value("LOG_LEVEL") != nil && !isSilent }

  /// Where the log goes: to standard error in the foreground; in the background to the machine's own log, and to standard
  /// error too where it was asked for.
  ///
  /// - Parameter interface: the interface of a daemon in the background.
  static func logHandler(_ label: String, interface: String?) -> any LogHandler {
    if isSilent { return SwiftLogNoOpLogHandler() }
    let level: Logger.Level =
      switch value("LOG_LEVEL") {
      case "verbose", "debug": .debug
      case "error": .error
      default: .notice
      }
    var stream = StreamLogHandler.standardError(label: label)
    stream.logLevel = level
    guard let interface else { return stream }
    var system = SystemLogHandler(interface: interface)
    system.logLevel = level
    return wantsLog ? MultiplexLogHandler([system, stream]) : system
  }
}

/// Standard error as something to print to.
struct StandardError: TextOutputStream {
  mutating func write(_ text: String) {
    var text = text
    text.withUTF8 { bytes in _ = unsafe Glibc.write(STDERR_FILENO, bytes.baseAddress!, bytes.count) }
  }
}
