import Glibc
import SystemPackage
import WG6Config
import WG6Crypto
import WG6Linux

/// A file that is to have another text.
struct FileReplacement {
  let path: String
  /// Where a backup goes if there can't be one beside the file.
  var otherDirectory = StateDirectory.path

  /// Where the file's former text is while the file is written in place.
  var backups: [String] {
    let name = path.split(separator: "/").last.map(String.init) ?? path
    return ["\(path).backup", "\(otherDirectory)/\(name).backup"]
  }

  /// Puts another file in its place, which is there whole or not at all. A file that is a mount point of its own, as
  /// containers have them, and one in a directory that can't be written, is written in place.
  func write(_ text: borrowing WipedBytes) throws(TunnelError) {
    do throws(Errno) {
      try exchange(text)
    } catch {
      guard [.resourceBusy, .readOnlyFileSystem, .permissionDenied, .notPermitted].contains(error) else {
        throw TunnelError("\(path): \(error)")
      }
      try writeInPlace(text)
    }
  }

  private func exchange(_ text: borrowing WipedBytes) throws(Errno) {
    let draft = path + ".tmp"
    try FileReplacement.create(draft, text)
    guard unsafe rename(draft, path) == 0 else {
      let error = Errno(rawValue: errno)
      unsafe unlink(draft)
      throw error
    }
  }

  /// Keeps a backup until all of `text` is in the file. If that fails, the file has its former text again, or the error
  /// says where the backup is.
  func writeInPlace(_ text: borrowing WipedBytes) throws(TunnelError) {
    let former: WipedBytes
    do {
      former = try WipedBytes(contentsOf: path)
    } catch {
      throw TunnelError("\(error)")
    }
    let descriptor = unsafe open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW)
    guard descriptor >= 0 else { throw TunnelError("\(path): \(Errno(rawValue: errno))") }
    let file = OwnedDescriptor(descriptor)
    let backup = try makeBackup(former)
    do throws(Errno) {
      try FileReplacement.fill(file, text)
    } catch {
      guard (try? FileReplacement.fill(file, former)) != nil else {
        throw TunnelError("\(path): \(error), with a part of it written; what it had before is in \(backup)")
      }
      unsafe unlink(backup)
      throw TunnelError("\(path): \(error); it is as it was before")
    }
    unsafe unlink(backup)
  }

  private func makeBackup(_ former: borrowing WipedBytes) throws(TunnelError) -> String {
    var reason = Errno.noSuchFileOrDirectory
    for backup in backups where !backup.hasPrefix(StateDirectory.path) || StateDirectory.problem == nil {
      do throws(Errno) {
        try FileReplacement.create(backup, former)
        return backup
      } catch {
        reason = error
      }
    }
    throw TunnelError("\(path): it can only be written in place, and there is no place for a backup: \(reason)")
  }

  /// A new file, and so this user's: one that another user put there before would stay theirs, with the keys in it.
  private static func create(_ path: String, _ text: borrowing WipedBytes) throws(Errno) {
    unsafe unlink(path)
    let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard descriptor >= 0 else { throw Errno(rawValue: errno) }
    do throws(Errno) {
      try fill(OwnedDescriptor(descriptor), text)
    } catch {
      unsafe unlink(path)
      throw error
    }
  }

  /// Puts `text` over what the file has, and cuts off what is behind it: nothing is lost before the new text is there.
  private static func fill(_ file: borrowing OwnedDescriptor, _ text: borrowing WipedBytes) throws(Errno) {
    guard lseek(file.rawValue, 0, SEEK_SET) == 0 else { throw Errno(rawValue: errno) }
    try text.writeAll(to: file.rawValue)
    guard ftruncate(file.rawValue, off_t(text.count)) == 0, fsync(file.rawValue) == 0 else {
      throw Errno(rawValue: errno)
    }
  }
}
