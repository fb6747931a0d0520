/// Work that is done once for many packets, in the kernel or by the network card: what is wanted, or what this machine can.
/// None of it changes what arrives.
public struct Offloads: OptionSet, Sendable {
  public let rawValue: UInt8

  public init(rawValue: UInt8) { self.rawValue = rawValue }

  /// Headers before the packets of the TUN, and checksums left to whoever sends them on. Nothing of `tso` and `uso`
  /// without it.
  public static let tun = Offloads(rawValue: 1)
  /// TCP segments of one flow cross the TUN as one packet, both ways.
  public static let tso = Offloads(rawValue: 2)
  /// UDP datagrams likewise (Linux 6.2).
  public static let uso = Offloads(rawValue: 4)
  /// Datagrams to one peer are sent as one message (UDP_SEGMENT, Linux 4.18).
  public static let gso = Offloads(rawValue: 8)
  /// Datagrams from one peer are received as one message (UDP_GRO, Linux 5.12).
  public static let gro = Offloads(rawValue: 16)

  public static let all: Offloads = [.tun, .tso, .uso, .gso, .gro]

  /// Every offload, the name that switches it off, and what it is.
  public static let kinds: [(offload: Offloads, name: String, meaning: String)] = [
    (.tun, "tun", "virtio headers on the interface, and checksums left open"),
    (.tso, "tso", "TCP segmentation and merging on the interface"),
    (.uso, "uso", "UDP segmentation and merging on the interface"),
    (.gso, "gso", "sending many datagrams as one"),
    (.gro, "gro", "receiving many datagrams as one"),
  ]

  /// Those that work without the others of `disabled`.
  public func without(_ disabled: Offloads) -> Offloads {
    let rest = subtracting(disabled)
    return rest.contains(.tun) ? rest : rest.subtracting([.tso, .uso])
  }

  /// What `list` names: names with commas between them, or `all`.
  public init(named list: String) throws(UnknownOffload) {
    self = []
    for word in list.split(separator: ",", omittingEmptySubsequences: false) {
      if word == "all" {
        formUnion(.all)
      } else if let kind = Offloads.kinds.first(where: { $0.name == word }) {
        formUnion(kind.offload)
      } else {
        throw UnknownOffload(name: String(word))
      }
    }
  }
}

extension Offloads: CustomStringConvertible {
  /// Names with commas between them, as `init(named:)` takes them; empty for none.
  public var description: String {
    Offloads.kinds.filter { contains($0.offload) }.map(\.name).joined(separator: ",")
  }
}

/// A name in a list of offloads that none has.
public struct UnknownOffload: Error, Equatable, CustomStringConvertible {
  public let name: String

  public var description: String {
    "'\(name)' is no offload: expected all, or any of \(Offloads.kinds.map(\.name).joined(separator: ",")), with commas between them"
  }
}
