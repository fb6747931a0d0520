import Foundation

/// One machine of a lab: a network namespace with its own control sockets and configuration directory.
public final class Host: Machine {
  public let name: String
  /// The namespace's name, as `ip netns` knows it.
  public let namespace: String
  public unowned let lab: Lab

  init(_ name: String, in lab: Lab) {
    self.name = name
    self.lab = lab
    namespace = LabName.namespace(lab.name, name)
  }

  /// A program's end in this host, whatever that was.
  public func attempt(
    _ words: [String], input: String? = nil, environment: [String: String] = [:], within seconds: Double = 30
  ) throws -> Outcome {
    try start(words, input: input, environment: environment).wait(within: seconds)
  }

  /// Starts a program in this host and leaves it running.
  public func start(
    _ words: [String], input: String? = nil, environment: [String: String] = [:]
  ) throws -> Program {
    try lab.start(
      [lab.directory + "/enter", name] + words, title: words.joined(separator: " "), environment: environment,
      input: input)
  }

  /// `ip` in this host.
  @discardableResult
  public func ip(_ words: String...) throws -> String {
    try lab.start(["ip", "-n", namespace] + words, title: "ip -n \(name) " + words.joined(separator: " "))
      .wait(within: 20).orThrow().output
  }

  /// Sets kernel parameters; several at once are cheaper.
  public func sysctl(_ settings: [String: String]) throws {
    try run(["sysctl", "-qw"] + settings.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" })
  }

  /// Makes it a router for both families.
  public func forward() throws {
    try sysctl(["net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1"])
  }

  /// A port of this host, to be given to `Lab.cable` or `Lab.plug`.
  public func port(_ interface: String, _ addresses: String...) -> Port {
    Port(host: self, interface: interface, addresses: addresses)
  }

  /// Routes `prefix` (or `default`) through `gateway`.
  public func route(_ prefix: String = "default", via gateway: String) throws {
    try ip(gateway.contains(":") ? "-6" : "-4", "route", "replace", prefix, "via", gateway)
  }

  /// Waits until `address` answers from here, as a fresh link may take a second to.
  public func reach(_ address: String, within seconds: Double = 15) throws {
    try waitUntil("\(name) reaches \(address)", within: seconds) {
      try attempt(["ping", "-q", "-n", "-c", "1", "-W", "0.5", address], within: 10).succeeded
    }
  }

  /// Whether an interface of that name exists here.
  public func has(interface: String) -> Bool {
    (try? ip("-o", "link", "show", "dev", interface)) != nil
  }

  /// The pids of the processes that live in this namespace.
  public var processes: [pid_t] { Sweep.processes(inNamespace: namespace) }

  /// Where a host's own version of a directory (`/etc/wireguard`) really lies.
  public func privateDirectory(_ place: String) -> String {
    "\(lab.directory)/hosts/\(name)\(place)"
  }
}

/// Something that commands run on: a namespace, or the guest in the virtual machine.
public protocol Machine: AnyObject {
  var name: String { get }
  func attempt(_ words: [String], input: String?, environment: [String: String], within seconds: Double) throws
    -> Outcome
}

extension Machine {
  /// Runs a program whose failure is the scenario's.
  @discardableResult
  public func run(
    _ words: [String], input: String? = nil, environment: [String: String] = [:], within seconds: Double = 30
  ) throws -> Outcome {
    try attempt(words, input: input, environment: environment, within: seconds).orThrow()
  }

  @discardableResult
  public func run(_ words: String..., input: String? = nil, within seconds: Double = 30) throws -> Outcome {
    try run(words, input: input, within: seconds)
  }

  /// Runs a line of shell.
  @discardableResult
  public func shell(_ script: String, within seconds: Double = 30) throws -> Outcome {
    try run(["sh", "-c", script], within: seconds)
  }
}

/// One end of a cable: an interface of a host, and the addresses it shall have.
public struct Port {
  public let host: Host
  public let interface: String
  public let addresses: [String]

  /// Brings it up and gives it its addresses, without waiting for duplicate address detection.
  func raise() throws {
    try host.ip("link", "set", interface, "up")
    for address in addresses { try add(address) }
  }

  /// Adds an address with its prefix length.
  public func add(_ address: String) throws {
    if address.contains(":") {
      try host.ip("addr", "add", address, "dev", interface, "nodad")
    } else {
      try host.ip("addr", "add", address, "dev", interface)
    }
  }

  /// Has this IPv4 address and no other.
  func replaceV4(by address: String) throws {
    try host.ip("-4", "address", "flush", "dev", interface)
    try add(address)
  }

  /// Takes an address away.
  public func remove(_ address: String) throws {
    try host.ip("addr", "del", address, "dev", interface)
  }
}
