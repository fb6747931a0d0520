import Glibc

/// Waits for several descriptors at once, for a short time.
public enum Waiting {
  /// The first of `descriptors` that can be read from, or has come to its end, within `milliseconds`; nil where none has,
  /// or where one of `writable` can be written to.
  public static func readable(
    _ descriptors: [Int32], orWritable writable: Int32? = nil, milliseconds: Int32
  ) -> Int32? {
    var entries = descriptors.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
    if let writable { entries.append(pollfd(fd: writable, events: Int16(POLLOUT), revents: 0)) }
    guard unsafe poll(&entries, nfds_t(entries.count), milliseconds) > 0 else { return nil }
    return zip(descriptors, entries).first { $1.revents != 0 }?.0
  }
}
