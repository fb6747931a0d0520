import CLinux
import Glibc
import SystemPackage

/// A group of programs that the kernel tells apart from others (cgroup v2), called `wg6/NAME`.
///
/// The tree is opened, not looked for: `/sys/fs/cgroup` may be of version 1, mounted elsewhere, or covered, as it is behind
/// `ip netns exec`.
public struct ControlGroup: ~Copyable {
  private let tree: OwnedDescriptor
  private let group: OwnedDescriptor
  private let place: String

  private static let parent = "wg6"

  /// Finds the group, or makes it where there is none. Throws `ENODEV` where the kernel has no such groups.
  public init(making name: String) throws(Errno) {
    let tree = try OwnedDescriptor(orErrno: linux_open_control_groups())
    for place in [ControlGroup.parent, "\(ControlGroup.parent)/\(name)"] {
      if unsafe mkdirat(tree.rawValue, place, 0o755) != 0, errno != EEXIST { throw Errno(rawValue: errno) }
    }
    try self.init(name, in: tree)
  }

  /// Finds the group. Throws `ENOENT` where there is none.
  public init(named name: String) throws(Errno) {
    try self.init(name, in: OwnedDescriptor(orErrno: linux_open_control_groups()))
  }

  private init(_ name: String, in tree: consuming OwnedDescriptor) throws(Errno) {
    place = "\(ControlGroup.parent)/\(name)"
    let directory = unsafe openat(tree.rawValue, place, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard directory >= 0 else { throw Errno(rawValue: errno) }
    group = OwnedDescriptor(directory)
    self.tree = tree
  }

  /// Which network namespace this process is in: groups are the whole machine's, interfaces are not.
  public static func networkNamespace() throws(Errno) -> UInt64 {
    var status = stat()
    guard unsafe stat("/proc/self/ns/net", &status) == 0 else { throw Errno(rawValue: errno) }
    return UInt64(status.st_ino)
  }

  /// The group in a firewall rule (`socket cgroupv2 level 2 …`), as long as this value lives. libnftables looks below
  /// /sys/fs/cgroup, wherever the tree is.
  public var firewallPath: String { "../../../proc/self/fd/\(tree.rawValue)/\(place)" }

  /// Gives the mark to each socket that programs of the group make from now on.
  public func markSockets(_ mark: UInt32) throws(Errno) {
    let result = linux_mark_sockets_of_group(group.rawValue, mark)
    if result < 0 { throw Errno(rawValue: -result) }
  }

  /// Moves this process into the group, and with it all programs that it starts.
  public func join() throws(Errno) {
    let file = unsafe openat(group.rawValue, "cgroup.procs", O_WRONLY | O_CLOEXEC)
    guard file >= 0 else { throw Errno(rawValue: errno) }
    let processes = OwnedDescriptor(file)
    if unsafe write(processes.rawValue, "0", 1) != 1 { throw Errno(rawValue: errno) }
  }

  /// Whether programs of the group run.
  public func isPopulated() throws(Errno) -> Bool {
    let file = unsafe openat(group.rawValue, "cgroup.events", O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { throw Errno(rawValue: errno) }
    return OwnedDescriptor(file).text().split(separator: "\n").contains("populated 1")
  }

  /// Removes the group unless programs of it run, and the parent of all groups with the last one. Returns whether it is
  /// gone.
  public func remove() throws(Errno) -> Bool {
    guard unsafe unlinkat(tree.rawValue, place, AT_REMOVEDIR) == 0 || errno == ENOENT else {
      if errno == EBUSY { return false }
      throw Errno(rawValue: errno)
    }
    unsafe unlinkat(tree.rawValue, ControlGroup.parent, AT_REMOVEDIR)
    return true
  }
}
