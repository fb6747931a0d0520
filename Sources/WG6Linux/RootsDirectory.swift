import Glibc

/// A directory that only its owner may change, in which programs of root find what they trust: journals with commands in
/// them, sockets that keys are sent to.
public enum RootsDirectory {
  /// Why the directory at `path` can't be trusted; `nil` where it can, or is missing. It has to be root's, or this process's
  /// user's, and nobody else may write in it.
  public static func problem(of path: String) -> String? {
    var status = stat()
    guard unsafe lstat(path, &status) == 0 else {
      return errno == ENOENT || errno == ENOTDIR ? nil : "\(path): \(unsafe String(cString: strerror(errno)))"
    }
    let remedy = "Look at what is in it, and remove it"
    if status.st_mode & S_IFMT != S_IFDIR { return "\(path) is no directory. \(remedy)" }
    if status.st_uid != 0, status.st_uid != geteuid() {
      return "\(path) belongs to user \(status.st_uid), expected root. \(remedy)"
    }
    if status.st_mode & 0o022 != 0 { return "\(path) can be written by others than its owner. \(remedy)" }
    return nil
  }
}
