import CNetlink
import Glibc

/// A netlink request that the kernel or libnl refused.
public struct NetlinkError: Error, Sendable, CustomStringConvertible {
  /// libnl's own number (`NLE_…`), positive.
  public let code: Int32
  /// What was to be done, for people.
  public let operation: String
  /// Why it was refused, for people.
  public let reason: String

  /// What libnl says of its own, and of errors that it has translated.
  init(_ result: Int32, _ operation: String) {
    code = abs(result)
    self.operation = operation
    reason = unsafe String(cString: nl_geterror(code))
  }

  /// What the kernel says; libnl's translation has no words for much of it.
  init(systemError: Int32, _ operation: String, explanation: String? = nil) {
    code = abs(nl_syserr2nlerr(systemError))
    self.operation = operation
    reason = explanation ?? (unsafe String(cString: strerror(systemError)))
  }

  public var description: String { "\(operation): \(reason)" }

  /// Whether what was to be added exists already.
  public var isExisting: Bool { code == NLE_EXIST }
  /// Whether what was to be found or removed is not there.
  public var isMissing: Bool { code == NLE_OBJ_NOTFOUND || code == NLE_NODEV }
  /// Whether the kernel has no such thing: IPv6, or policy routing, was not built in or is switched off.
  public var isUnsupported: Bool { code == NLE_OPNOTSUPP || code == NLE_AF_NOSUPPORT }
}
