import Glibc
import WG6Linux

/// Going to the background: a new process does the work, and this one waits until that is ready, so that whoever
/// started it finds the interface there.
enum Background {
  /// The descriptor on which the child tells how its start went.
  static let readinessVariable = "WG6_READY_FD"

  /// Starts this program again in the foreground, in a session of its own, and exits as its start went.
  static func start(_ arguments: Arguments) -> Never {
    leaveToOthers(descriptorsBut: [Environment.descriptor("WG_TUN_FD"), Environment.descriptor("WG_UAPI_FD")])
    var ends: (reading: Int32, writing: Int32) = (-1, -1)
    unsafe withUnsafeMutableBytes(of: &ends) { ends in
      guard unsafe pipe(ends.assumingMemoryBound(to: Int32.self).baseAddress!) == 0 else {
        Wg6d.fail("cannot make a pipe: errno \(errno)")
      }
    }
    _ = fcntl(ends.reading, F_SETFD, FD_CLOEXEC)
    unsafe setenv(readinessVariable, String(ends.writing), 1)
    unsafe setenv("WG_PROCESS_FOREGROUND", "1", 1)
    do {
      _ = try Child(
        ownPath, arguments.forChild, outlivesCaller: true, silentOutput: !Environment.wantsLog)
    } catch {
      Wg6d.fail("cannot start the daemon: \(error)")
    }
    close(ends.writing)

    var message: [UInt8] = []
    var buffer = InlineArray<512, UInt8>(repeating: 0)
    while true {
      var span = buffer.mutableSpan
      let count = unsafe span.withUnsafeMutableBytes { unsafe read(ends.reading, $0.baseAddress!, $0.count) }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { break }
      for index in 0..<count { message.append(buffer[index]) }
    }
    if message == Array(Readiness.word.utf8) { exit(0) }
    Wg6d.fail(message.isEmpty ? "the daemon died before it was ready" : String(decoding: message, as: UTF8.self))
  }
}

extension Background {
  /// Whatever else was open stays behind: a lock would be held, and a pipe not end, as long as the tunnel is up.
  private static func leaveToOthers(descriptorsBut kept: [Int32?]) {
    guard let directory = unsafe opendir("/proc/self/fd") else { return }
    defer { unsafe closedir(directory) }
    while let entry = unsafe readdir(directory) {
      let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      guard let descriptor = Int32(name), descriptor > STDERR_FILENO, !kept.contains(descriptor) else { continue }
      _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    }
  }
}

/// Where this program stands, so that it shows by its name in process lists.
private var ownPath: String {
  let link = "/proc/self/exe"
  var buffer = InlineArray<4096, UInt8>(repeating: 0)
  var span = buffer.mutableSpan
  let count = unsafe span.withUnsafeMutableBytes { bytes in
    unsafe readlink(link, bytes.assumingMemoryBound(to: CChar.self).baseAddress!, bytes.count)
  }
  guard count > 0, count < buffer.count else { return link }
  let path = String(decoding: (0..<count).map { buffer[$0] }, as: UTF8.self)
  // A program that was replaced while it started has no path any more.
  return unsafe access(path, X_OK) == 0 ? path : link
}

/// The child's side: says once how the start went, to whoever waits for it.
struct Readiness {
  static let word = "ready\n"

  private let descriptor: Int32?

  init() {
    descriptor = Environment.descriptor(Background.readinessVariable)
    // Nobody else's business, least of all a program's that this process should ever start.
    unsafe unsetenv(Background.readinessVariable)
    if let descriptor { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
  }

  /// Whether a process waits to hear how the start went: this one is in the background then.
  var isAwaited: Bool { descriptor != nil }

  func ready() { tell(Readiness.word) }

  func failed(_ reason: String) { tell(reason) }

  private func tell(_ text: String) {
    guard let descriptor else { return }
    var text = text
    text.withUTF8 { bytes in _ = unsafe write(descriptor, bytes.baseAddress!, bytes.count) }
    close(descriptor)
  }
}
