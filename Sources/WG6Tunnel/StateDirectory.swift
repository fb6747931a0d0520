import Glibc
import SystemPackage
import WG6Linux

/// Where what is known of the tunnels of this machine lies: a journal and a lock for each.
public enum StateDirectory {
  public static let path = "/run/wg6"

  /// Why the directory can't be trusted; `nil` where it can, or is missing.
  static var problem: String? { RootsDirectory.problem(of: path) }

  /// The directory, made where it is missing; nobody but its owner looks into it. Throws `notPermitted` where others could
  /// have put something there.
  static func prepare() throws(Errno) {
    if unsafe mkdir(path, 0o700) == 0 { return }
    guard errno == EEXIST else { throw Errno(rawValue: errno) }
    guard problem == nil else { throw .notPermitted }
    // Who can open it can lock it, and have every command wait.
    var status = stat()
    guard unsafe stat(path, &status) == 0, status.st_mode & 0o077 != 0 else { return }
    guard unsafe chmod(path, 0o700) == 0 else { throw Errno(rawValue: errno) }
  }

  /// Waits for a lock that all tunnels of this machine share, and takes it; it ends with the descriptor.
  static func takeTurn() throws(Errno) -> OwnedDescriptor {
    let descriptor = unsafe open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { throw Errno(rawValue: errno) }
    let turn = OwnedDescriptor(descriptor)
    while flock(turn.rawValue, LOCK_EX) != 0 {
      guard errno == EINTR else { throw Errno(rawValue: errno) }
    }
    return turn
  }

  /// Interfaces that have a journal.
  static func interfaces(in directory: String = path) -> [String] {
    let suffix = ".journal"
    return names(in: directory).filter { $0.hasSuffix(suffix) }.map { String($0.dropLast(suffix.count)) }
  }

  /// What a directory holds; nothing where it can't be read.
  static func names(in directory: String) -> [String] {
    (try? Directory.names(in: directory)) ?? []
  }
}

/// The right to change a tunnel, which one process has at a time: a locked file. It ends with the process.
struct InterfaceLock {
  private let descriptor: Int32
  private let path: String

  /// What one process does at a time.
  enum Purpose: String {
    case change = "lock"
    case asking
    case programs
    case watching
  }

  /// Takes the lock of `interface` if it is free. Throws `wouldBlock` where another process holds it, or `open`'s error.
  init(
    _ interface: String, for purpose: Purpose = .change, in directory: String = StateDirectory.path
  ) throws(Errno) {
    if directory == StateDirectory.path { try StateDirectory.prepare() }
    path = "\(directory)/\(interface).\(purpose.rawValue)"
    for _ in 0..<100 {
      let file = unsafe open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
      guard file >= 0 else { throw Errno(rawValue: errno) }
      guard flock(file, LOCK_EX | LOCK_NB) == 0 else {
        let error = Errno(rawValue: errno)
        close(file)
        throw error
      }
      // Whoever held it before may have removed the file in between: then this is a lock that nobody else sees.
      var opened = stat(), named = stat()
      if unsafe fstat(file, &opened) == 0, unsafe stat(path, &named) == 0, opened.st_ino == named.st_ino {
        let line = Array("\(getpid())\n".utf8)
        ftruncate(file, 0)
        _ = unsafe pwrite(file, line, line.count, 0)
        descriptor = file
        return
      }
      close(file)
    }
    throw .wouldBlock
  }

  /// Takes the lock as soon as it is free. Throws `wouldBlock` where another process still holds it after `seconds`, or once
  /// `isWanted` says that it is not, asked after each try in vain; or `open`'s error.
  static func take(
    _ interface: String, for purpose: Purpose = .change, within seconds: Int, isWanted: () -> Bool = { true }
  ) throws(Errno) -> InterfaceLock {
    var lock: InterfaceLock?
    _ = try wait(seconds: seconds) { () throws(Errno) in
      do throws(Errno) {
        lock = try InterfaceLock(interface, for: purpose)
        return true
      } catch .wouldBlock {
        return !isWanted()
      }
    }
    guard let lock else { throw .wouldBlock }
    return lock
  }

  /// The process that holds the lock; nil if none does.
  static func holder(
    of interface: String, for purpose: Purpose, in directory: String = StateDirectory.path
  ) -> ForeignProcess? {
    let file = unsafe open("\(directory)/\(interface).\(purpose.rawValue)", O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
    guard file >= 0 else { return nil }
    let descriptor = OwnedDescriptor(file)
    guard flock(descriptor.rawValue, LOCK_SH | LOCK_NB) != 0 else { return nil }
    return pid_t(descriptor.text().prefix { $0.isNumber }).flatMap { try? ForeignProcess($0) }
  }

  /// The lock that this process was given as an open descriptor.
  init(given descriptor: Int32, of interface: String, for purpose: Purpose) {
    self.descriptor = descriptor
    path = "\(StateDirectory.path)/\(interface).\(purpose.rawValue)"
    _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    writeHolder(getpid())
  }

  /// Gives the lock to a process that `start` starts with the descriptor, and writes down which process that is.
  func pass(_ start: (Int32) throws(Errno) -> Child) throws(Errno) {
    let child: Child
    do throws(Errno) {
      child = try start(descriptor)
    } catch {
      release()
      throw error
    }
    writeHolder(child.processID)
    close(descriptor)
  }

  /// Writes down how far the process is that has been given the lock.
  func note(_ text: String) {
    _ = unsafe pwrite(descriptor, text, text.utf8.count, InterfaceLock.noteOffset)
  }

  private static let noteOffset = 16

  /// What the process that holds the lock has written down last.
  static func note(of interface: String, for purpose: Purpose) -> String {
    let file = unsafe open("\(StateDirectory.path)/\(interface).\(purpose.rawValue)", O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
    guard file >= 0 else { return "" }
    let descriptor = OwnedDescriptor(file)
    var bytes = [UInt8](repeating: 0, count: 32)
    let count = unsafe pread(descriptor.rawValue, &bytes, bytes.count, noteOffset)
    return String(decoding: bytes[..<max(count, 0)].prefix { $0 != 0 }, as: UTF8.self)
  }

  private func writeHolder(_ process: pid_t) {
    let line = Array("\(process)\n".utf8)
    _ = unsafe pwrite(descriptor, line, line.count, 0)
  }

  /// Gives it back, and removes the file.
  func release() {
    unsafe unlink(path)
    close(descriptor)
  }
}
