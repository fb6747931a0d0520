import CNetlink

/// A netlink request that the kernel or libnl refused.
public struct NetlinkError: Error, Sendable, CustomStringConvertible {
  /// libnl's own number (`NLE_…`), positive.
  public let code: Int32
  /// What was to be done, for people.
  public let operation: String

  init(_ result: Int32, _ operation: String) {
    code = abs(result)
    self.operation = operation
  }

  /// libnl's text for `code`.
  public var reason: String { unsafe String(cString: nl_geterror(code)) }
  public var description: String { "\(operation): \(reason)" }

  /// Whether what was to be added exists already.
  public var isExisting: Bool { code == NLE_EXIST }
  /// Whether what was to be found or removed is not there.
  public var isMissing: Bool { code == NLE_OBJ_NOTFOUND || code == NLE_NODEV }
}
