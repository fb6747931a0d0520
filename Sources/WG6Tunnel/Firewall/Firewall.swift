import CNftables
import Glibc
import Synchronization
import SystemPackage
import WG6Linux

/// The kernel's packet filter, over libnftables. Needs CAP_NET_ADMIN; nothing is printed.
public enum Firewall {
  /// Carries out `script`, in the language of nft(8), as one transaction: all of it or nothing.
  public static func run(_ script: String) throws(FirewallError) {
    _ = try output(of: script)
  }

  /// Whether the table `name` of the family `inet` exists.
  public static func hasTable(_ name: String) throws(FirewallError) -> Bool {
    try output(of: "list tables inet\n").split(separator: "\n").contains("table inet \(name)")
  }

  /// What the table `name` of the family `inet` says, as nft lists it.
  static func listing(of name: String) throws(FirewallError) -> String {
    try output(of: "list table inet \(name)\n")
  }

  /// libnftables says nothing of threads; one at a time is fast enough.
  private static let turn = Mutex(())

  private static func output(of script: String) throws(FirewallError) -> String {
    try requireNetfilter()
    return try turn.withLock { _ throws(FirewallError) in try Context().run(script) }
  }

  /// Throws where the kernel has no netfilter sockets: libnftables would print that and end the process.
  static func requireNetfilter() throws(FirewallError) {
    let netfilter: Int32 = 12
    let descriptor = socket(AF_NETLINK, Int32(SOCK_RAW.rawValue) | Int32(SOCK_CLOEXEC.rawValue), netfilter)
    guard descriptor >= 0 else {
      throw errno == EPROTONOSUPPORT || errno == EAFNOSUPPORT
        ? FirewallError.unsupported : FirewallError(reason: unsafe String(cString: strerror(errno)), details: "")
    }
    close(descriptor)
  }
}

/// What nftables refused.
public struct FirewallError: Error, Sendable, Equatable, CustomStringConvertible {
  /// One line for people.
  public let reason: String
  /// All that libnftables said, with the places in the script.
  public let details: String

  public var description: String { "firewall: \(reason)" }

  static let unsupported = FirewallError(
    reason:
      "this kernel has no nftables (CONFIG_NF_TABLES_INET), which the guard against forged packets, the kill switch and ClampMSS need",
    details: "")

  init(reason: String, details: String) {
    self.reason = reason
    self.details = details
  }

  /// Understands libnftables, which tells of an error as "PLACE: Error: TEXT", the script's line and a line of carets.
  init(_ details: String) {
    let lines = details.split(separator: "\n").map(String.init)
    let isUnknownToKernel =
      details.contains("cache initialization failed")
      && (details.contains("Invalid argument") || details.contains("not supported"))
    guard !isUnknownToKernel else {
      self = .unsupported
      return
    }
    guard let first = lines.firstIndex(where: { $0.contains("Error: ") }) else {
      self.init(reason: lines.first ?? "libnftables gives no reason", details: details)
      return
    }
    let text = lines[first].split(separator: "Error: ", maxSplits: 1).last ?? ""
    // A set of many prefixes is one long line.
    let place = lines.dropFirst(first + 1).first.map { $0.drop { $0 == " " }.prefix(120) } ?? ""
    self.init(reason: place.isEmpty ? "\(text)" : "\(text), at '\(place)'", details: details)
  }
}

/// One context of libnftables, with its output and errors in memory.
@safe private struct Context: ~Copyable {
  // SAFETY: made in init, freed in deinit, lent to libnftables for the length of a call.
  private let context: OpaquePointer

  init() throws(FirewallError) {
    guard let context = unsafe nft_ctx_new(UInt32(NFT_CTX_DEFAULT)) else {
      throw FirewallError(reason: "no memory for libnftables", details: "")
    }
    guard unsafe nft_ctx_buffer_output(context) == 0, unsafe nft_ctx_buffer_error(context) == 0 else {
      unsafe nft_ctx_free(context)
      throw FirewallError(reason: "no memory for what libnftables says", details: "")
    }
    unsafe self.context = context
  }

  deinit {
    unsafe nft_ctx_free(context)
  }

  func run(_ script: String) throws(FirewallError) -> String {
    // From a file: of what is wrong in a buffer, libnftables does not tell the line.
    let file: OwnedDescriptor
    do {
      file = try OwnedDescriptor(text: script)
    } catch {
      throw FirewallError(reason: "a file in memory: \(error)", details: "")
    }
    guard unsafe nft_run_cmd_from_filename(context, "/proc/self/fd/\(file.rawValue)") == 0 else {
      throw FirewallError(unsafe text(nft_ctx_get_error_buffer(context)))
    }
    return unsafe text(nft_ctx_get_output_buffer(context))
  }

  private func text(_ buffer: UnsafePointer<CChar>?) -> String {
    guard let buffer = unsafe buffer else { return "" }
    return unsafe String(cString: buffer)
  }
}
