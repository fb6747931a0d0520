import ArgumentParser
import CLinux
import Glibc
import SystemPackage
import WG6Crypto
import WG6Linux

/// Where a command writes what comes: standard output, or a file that is the owner's alone. A signal ends it also while a
/// reader keeps it waiting.
final class CaptureOutput {
  private let descriptor: OwnedDescriptor
  private let name: String
  private let signals: SignalReader
  /// Never keeps a writer waiting for a reader.
  private let isFile: Bool
  private let isPipe: Bool
  /// Whether a signal to end has come: what there is can still be written.
  private(set) var isAsked = false
  /// Whether nothing more can be written: whoever read has gone, or a signal has come while they kept this waiting.
  private(set) var hasEnded = false

  /// - Parameter path: nil and `-` stand for standard output.
  init(_ path: String?) throws {
    signal(SIGPIPE, SIG_IGN)
    if let path, path != "-" {
      name = path
      descriptor = try CaptureOutput.open(path)
    } else {
      name = "standard output"
      if path == "-", isatty(STDOUT_FILENO) == 1 {
        throw failure("standard output is a terminal, and pcapng is nothing to read: -w - is for a pipe")
      }
      descriptor = OwnedDescriptor(dup(STDOUT_FILENO))
    }
    var status = stat()
    unsafe fstat(descriptor.rawValue, &status)
    isFile = status.st_mode & S_IFMT == S_IFREG
    isPipe = status.st_mode & S_IFMT == S_IFIFO
    do {
      signals = try SignalReader([SIGINT, SIGTERM, SIGHUP])
    } catch {
      throw failure("cannot wait for signals: \(error)")
    }
  }

  func write(_ bytes: [UInt8]) throws {
    unsafe try bytes.withUnsafeBytes { unsafe try write($0) }
  }

  func write(_ bytes: borrowing WipedBytes) throws {
    try bytes.withBytes { (bytes: RawSpan) in unsafe try bytes.withUnsafeBytes { unsafe try write($0) } }
  }

  /// Waits until `descriptor` can be read from, or something ends this; returns whether it can be read from.
  func wait(for descriptor: Int32, milliseconds: Int32) -> Bool {
    let own = [signals.descriptor.rawValue] + (isPipe ? [self.descriptor.rawValue] : [])
    let ready = Waiting.readable(own + [descriptor], milliseconds: milliseconds)
    if ready == signals.descriptor.rawValue {
      _ = signals.next()
      isAsked = true
    } else if ready == self.descriptor.rawValue {
      // A pipe that is written to is readable for its error alone: its reader has gone.
      hasEnded = true
    }
    return ready == descriptor
  }

  /// Writes all of it, unless it ends meanwhile.
  private func write(_ bytes: UnsafeRawBufferPointer) throws {
    var written = 0
    while written < bytes.count, !hasEnded {
      // So much a pipe takes at once when it says that it takes any (pipe(7), PIPE_BUF).
      let count = isFile ? bytes.count - written : min(bytes.count - written, 4096)
      if !isFile,
        Waiting.readable([signals.descriptor.rawValue], orWritable: descriptor.rawValue, milliseconds: -1) != nil
      {
        hasEnded = true
        return
      }
      let result = unsafe Glibc.write(descriptor.rawValue, bytes.baseAddress! + written, count)
      if result >= 0 {
        written += result
      } else if errno == EPIPE {
        hasEnded = true
      } else if errno != EINTR, errno != EAGAIN {
        throw failure("\(name): \(systemText(errno))")
      }
    }
  }

  /// Opens a file for what only its owner may read: a new one, or one that is this user's, which is emptied. A pipe or a
  /// device is taken as it is.
  private static func open(_ path: String) throws -> OwnedDescriptor {
    let flags = O_WRONLY | O_CLOEXEC | O_NOCTTY
    var raw = unsafe Glibc.open(path, flags | O_CREAT | O_NOFOLLOW, 0o600)
    let isLink = raw < 0 && errno == ELOOP
    // As shells name pipes: a link to anything but a file is followed.
    if isLink { raw = unsafe Glibc.open(path, flags) }
    guard raw >= 0 else { throw failure("\(path): \(systemText(errno))\(Rights.hint(errno))") }
    let descriptor = OwnedDescriptor(raw)
    var status = stat()
    guard unsafe fstat(raw, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return descriptor }
    if isLink { throw failure("\(path) is a symbolic link to a file. Name the file itself") }
    guard status.st_uid == geteuid(), status.st_nlink == 1 else {
      throw failure(
        "\(path) is another user's file, or has a second name: whoever has that could read what is written there. Name a new file"
      )
    }
    guard fchmod(raw, 0o600) == 0, ftruncate(raw, 0) == 0 else { throw failure("\(path): \(systemText(errno))") }
    return descriptor
  }
}
