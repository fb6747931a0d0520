import Foundation

/// A folder under `Examples` on the stage: each host has the file of its name, with the keys filled in.
///
/// Where the lab is another implementation's, the host named as `foreign` has that, with the file as it has to be there, and
/// the others have wg6: each situation is one that a peer of any make can be in.
struct Situation {
  let lab: Lab
  private let folder: String
  private let foreign: String
  private let keys: [String: KeyPair]

  init(_ folder: String, of hosts: [Host], foreign: String, in lab: Lab) throws {
    self.lab = lab
    self.folder = folder
    self.foreign = foreign
    keys = Dictionary(uniqueKeysWithValues: try hosts.map { ($0.name, try KeyPair.fresh(lab)) })
    for host in hosts {
      let text = try file(of: host)
      lab.say("\n\(host.name)$ cat wgnet.conf          (Examples/\(folder)/\(host.name)/wgnet.conf)\n\(text.trimmed)")
      try Files.write(filled(text, for: host), to: host.privateDirectory("/etc/wireguard") + "/wgnet.conf", mode: 0o600)
    }
  }

  /// The file as it lies there; for another implementation, with the lines that 'wg6 address' prints.
  private func file(of host: Host) throws -> String {
    let text = try Examples.text("\(folder)/\(host.name)/wgnet.conf")
    guard frontend(of: host).implementation != .wg6, text.contains("LinkLocal = auto") else { return text }
    var lines = text.components(separatedBy: "\n")
    for index in lines.indices {
      if lines[index] == "LinkLocal = auto" {
        lines[index] = "Address = \(try address(of: host.name))/64"
      } else if lines[index].hasPrefix("PublicKey = PUBLIC-KEY-OF-") {
        let name = lines[index].dropFirst("PublicKey = PUBLIC-KEY-OF-".count).lowercased()
        lines[index] += "\nAllowedIPs = \(try address(of: name))/128"
      }
    }
    return lines.joined(separator: "\n")
  }

  private func filled(_ text: String, for host: Host) -> String {
    keys.reduce(text) { text, pair in
      text.replacingOccurrences(of: "PRIVATE-KEY-OF-\(pair.key.uppercased())", with: pair.value.privateKey)
        .replacingOccurrences(of: "PUBLIC-KEY-OF-\(pair.key.uppercased())", with: pair.value.publicKey)
    }
  }

  /// What brings up the tunnel there.
  func frontend(of host: Host) -> Frontend {
    Frontend(implementation: host.name == foreign ? lab.implementation : .wg6)
  }

  /// The link-local address that comes from a host's key, as 'wg6 address' prints it.
  func address(of name: String) throws -> String {
    guard let key = keys[name]?.publicKey else { throw Disproved(claim: "\(name) has a key", detail: folder) }
    let lines = try lab.command(Binaries.path(of: "wg6"), "address", key).split(separator: "\n")
    guard let line = lines.first(where: { $0.hasPrefix("  link-local ") }) else {
      throw Disproved(claim: "'wg6 address' prints a link-local address", detail: lines.joined(separator: "\n"))
    }
    return String(line.dropFirst("  link-local ".count)).trimmed
  }

  func up(_ hosts: Host...) throws {
    for host in hosts {
      let frontend = frontend(of: host)
      lab.say("\n\(host.name)$ \(frontend.name) up wgnet")
      let outcome = try frontend.up("wgnet", on: host).orThrow()
      if frontend.implementation == .wg6 { lab.sayUnlessEmpty(outcome.output + outcome.complaints) }
    }
  }

  /// Takes the tunnels down, unless everything stays for a person to look around.
  func down(_ hosts: Host...) throws {
    if lab.stays { return }
    for host in hosts {
      let frontend = frontend(of: host)
      try frontend.down("wgnet", on: host).orThrow()
      try waitUntil("nothing stays on \(host.name)") {
        try host.remains(of: "wgnet", frontend.implementation).isEmpty
      }
    }
    try lab.require(true, "after down nothing of the tunnel stays")
  }
}

extension Host {
  /// Runs a command, with what a person would see of it.
  @discardableResult
  func show(_ words: String..., within seconds: Double = 30) throws -> String {
    lab.say("\n\(name)$ \(words.joined(separator: " "))")
    let outcome = try attempt(words, within: seconds)
    let text = outcome.output + outcome.complaints
    lab.sayUnlessEmpty(text)
    return text
  }

  /// Serves the files of a directory as web pages, on port 80 of every address.
  @discardableResult
  func serve(_ pages: [String: String]) throws -> Program {
    let directory = "\(lab.directory)/hosts/\(name)/www"
    for (page, text) in pages {
      let path = "\(directory)/\(page)"
      try Files.makeDirectory((path as NSString).deletingLastPathComponent)
      try Files.write(text, to: path, mode: page.hasPrefix("cgi-bin/") ? 0o755 : 0o644)
    }
    return try start(["busybox", "httpd", "-f", "-p", "80", "-h", directory])
  }

  /// A page, or nil if it doesn't come.
  func fetch(_ address: String) throws -> String? {
    let outcome = try attempt(["curl", "-sS", "-g", "-m", "3", address], within: 10)
    return outcome.succeeded ? outcome.output.trimmed : nil
  }
}

extension Lab {
  fileprivate func sayUnlessEmpty(_ text: String) {
    if !text.trimmed.isEmpty { say(text.trimmed) }
  }
}
