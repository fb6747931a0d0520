import ArgumentParser
import Glibc
import WG6Config
import WG6Crypto
import WG6Linux

/// The name that this program was called by, for messages as `wg` words them.
var programName: String { CommandLine.arguments.first ?? "wg6" }

/// The value of an environment variable.
func environment(_ name: String) -> String? {
  guard let value = unsafe getenv(name) else { return nil }
  return unsafe String(cString: value)
}

/// The system's text for an error number.
func systemText(_ number: Int32) -> String {
  unsafe String(cString: strerror(number))
}

extension WipedBytes {
  /// Writes everything to standard output; a reader that went away is no news.
  func print() throws {
    do {
      try writeAll(to: STDOUT_FILENO)
    } catch {
      throw failure("standard output: \(error)")
    }
  }
}

extension WipedBytes {
  /// Whether there is nothing but white space (and NUL bytes, where those count) behind `start`.
  func isBlank(from start: Int = 0, nulIncluded: Bool = false) -> Bool {
    withBytes { bytes in
      (start..<bytes.byteCount).allSatisfy { index in
        let byte = unsafe bytes.unsafeLoad(fromByteOffset: index, as: UInt8.self)
        return byte == 32 || (9...13).contains(byte) || (nulIncluded && byte == 0)
      }
    }
  }
}

/// Writes a line to standard output.
func say(_ line: String = "") throws {
  var text = WipedBytes()
  text.append(line)
  text.append(UInt8(ascii: "\n"))
  try text.print()
}

/// The address book, where there is one.
enum KnownKeys {
  /// `WG6_KEYS`, where that names a file.
  private static var chosen: String? { environment("WG6_KEYS").flatMap { $0.isEmpty ? nil : $0 } }

  static var path: String { chosen ?? AddressBook.defaultPath }

  /// Refuses a `WG6_KEYS` that names no file that can be read, whether or not a name is looked up in it.
  static func check() throws {
    guard let chosen else { return }
    do {
      _ = try WipedBytes(contentsOf: chosen)
    } catch {
      throw failure("WG6_KEYS=\(chosen): \(error.reason)\(Rights.hint(error.errno))")
    }
  }

  /// The book; `nil` where no file is.
  static func read() throws(FileMistakes) -> AddressBook? {
    let text: WipedBytes
    do {
      text = try WipedBytes(contentsOf: path)
    } catch {
      if error.errno == ENOENT || error.errno == ENOTDIR { return nil }
      throw FileMistakes([FileMistake(file: path, line: 1, message: "\(error.reason)\(Rights.hint(error.errno))")])
    }
    return try text.withBytes { (bytes: RawSpan) throws(FileMistakes) in try AddressBook(reading: bytes, named: path) }
  }

  /// The book for printing names. The usual one may have mistakes or be unreadable: it is left aside, with a warning. One
  /// that `WG6_KEYS` names ends the command then.
  static func forDisplay() throws -> AddressBook {
    try check()
    do {
      return try read() ?? AddressBook()
    } catch {
      guard chosen == nil else { throw failure(error) }
      for mistake in error.mistakes { warn(mistake) }
      return AddressBook()
    }
  }
}
