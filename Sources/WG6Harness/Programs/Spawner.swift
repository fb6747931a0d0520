import Foundation
import Synchronization

/// Starts every child of the harness, on one thread that never ends.
///
/// The children ask the kernel to be killed with their parent (`PR_SET_PDEATHSIG`, through `setpriv`), and the kernel
/// takes "parent" to mean the *thread* that spawned them. A thread out of a pool may end when it has been idle for a
/// while and would take its children along.
final class Spawner: Sendable {
  static let shared = Spawner()

  /// Where a child's three standard streams lead.
  struct Streams: Sendable {
    var input = "/dev/null"
    var output: String
    var complaints: String
  }

  private struct Job: Sendable {
    let words: [String]
    let environment: [String: String]
    let streams: Streams
    let answer: @Sendable (Result<pid_t, SpawnFailure>) -> Void
  }

  private let jobs = Mutex<[Job]>([])
  private let bell = DispatchSemaphore(value: 0)

  private init() {
    let thread = Thread { [self] in
      while true {
        bell.wait()
        let job = jobs.withLock { $0.removeFirst() }
        job.answer(Self.spawn(job))
      }
    }
    thread.name = "spawner"
    thread.start()
  }

  /// Starts `words[0]`, found in PATH, in a process group of its own. Returns its pid at once; the caller reaps it.
  func spawn(_ words: [String], environment: [String: String] = [:], streams: Streams) throws -> pid_t {
    let done = DispatchSemaphore(value: 0)
    let result = Answer()
    let job = Job(words: words, environment: environment, streams: streams) { answer in
      result.value.withLock { $0 = answer }
      done.signal()
    }
    jobs.withLock { $0.append(job) }
    bell.signal()
    done.wait()
    return try result.value.withLock { $0! }.get()
  }

  private final class Answer: Sendable {
    let value = Mutex<Result<pid_t, SpawnFailure>?>(nil)
  }

  private static func spawn(_ job: Job) -> Result<pid_t, SpawnFailure> {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    let append = O_WRONLY | O_CREAT | O_APPEND
    posix_spawn_file_actions_addopen(&actions, 0, job.streams.input, O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, 1, job.streams.output, append, 0o600)
    posix_spawn_file_actions_addopen(&actions, 2, job.streams.complaints, append, 0o600)

    // The harness may block signals and ignore SIGPIPE; its children start with a clean slate.
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    var all = sigset_t()
    sigemptyset(&none)
    sigfillset(&all)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setsigdefault(&attributes, &all)
    posix_spawnattr_setpgroup(&attributes, 0)
    posix_spawnattr_setflags(
      &attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP))

    var surroundings = ProcessInfo.processInfo.environment
    surroundings.merge(job.environment) { $1 }
    let arguments = CStrings(job.words)
    let variables = CStrings(surroundings.map { "\($0.key)=\($0.value)" })
    var pid: pid_t = 0
    let code = posix_spawnp(&pid, job.words[0], &actions, &attributes, arguments.pointers, variables.pointers)
    return code == 0 ? .success(pid) : .failure(SpawnFailure(program: job.words[0], code: code))
  }
}

/// A program that could not even be started.
public struct SpawnFailure: Error, CustomStringConvertible {
  public let program: String
  public let code: Int32
  public var description: String { "cannot start \(program): \(String(cString: strerror(code)))" }
}

/// A null-terminated array of C strings, for as long as this object lives.
private final class CStrings {
  let pointers: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>
  private let count: Int

  init(_ strings: [String]) {
    count = strings.count
    pointers = .allocate(capacity: count + 1)
    for (index, string) in strings.enumerated() { pointers[index] = strdup(string) }
    pointers[count] = nil
  }

  deinit {
    for index in 0..<count { free(pointers[index]) }
    pointers.deallocate()
  }
}
