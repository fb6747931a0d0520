import ArgumentParser
import Glibc
import WG6Config
import WG6Crypto
import WG6Linux
import WG6Protocol
import WG6Tunnel

/// A word that a shell may offer, and what it says beside it.
struct Candidate: Hashable {
  let word: String
  var note = ""

  /// The line for the shell that asks; bash shows no notes.
  func line(for shell: CompletionShell?) -> String {
    switch shell {
    case .zsh:
      let word = word.replacing("\\", with: "\\\\").replacing(":", with: "\\:")
      return note.isEmpty ? word : "\(word):\(note)"
    case .fish: return note.isEmpty ? word : "\(word)\t\(note)"
    default: return word
    }
  }
}

/// Where the words that can be offered come from. What this process may not read is left out: a completion says nothing.
enum Candidates {
  /// The tunnels that have a file in `/etc/wireguard`.
  static var files: [String] {
    names(in: ConfigurationSource.directory, endingIn: ".conf")
  }

  /// The interfaces that a daemon serves.
  static var interfaces: [String] {
    ((try? ControlSocket.interfaces()) ?? []).sorted()
  }

  /// The tunnels that are up, or whose daemon died: all that `down` can take down.
  static var running: [String] {
    Swift.Set(interfaces + names(in: StateDirectory.path, endingIn: ".journal")).sorted()
  }

  /// The peers of an interface, with their names, and the names in the address book.
  static func peers(of interface: String) -> [Candidate] {
    let book = (try? KnownKeys.read()) ?? AddressBook()
    let status = try? RemoteDevice(interface: interface).status()
    let keys = (status?.peers ?? []).map {
      Candidate(word: $0.publicKey.base64, note: book.name(of: $0.publicKey) ?? "")
    }
    return keys + book.entries.map { Candidate(word: "@\($0.name)", note: $0.note) }
  }

  /// The names in the address book.
  static var bareNames: [Candidate] {
    ((try? KnownKeys.read()) ?? AddressBook()).entries.map { Candidate(word: $0.name, note: $0.note) }
  }

  /// The users of this machine.
  static var users: [String] {
    var names: [String] = []
    setpwent()
    defer { endpwent() }
    while let entry = unsafe getpwent() { names.append(unsafe String(cString: entry.pointee.pw_name)) }
    return names
  }

  /// The programs in `PATH`.
  static var programs: [String] {
    let found = Program.searchPath.split(separator: ":").flatMap { directory in
      ((try? Directory.names(in: String(directory))) ?? []).filter { Program.isExecutable("\(directory)/\($0)") }
    }
    return Swift.Set(found).sorted()
  }

  private static func names(in directory: String, endingIn suffix: String) -> [String] {
    ((try? Directory.names(in: directory)) ?? []).filter { $0.hasSuffix(suffix) }.map {
      String($0.dropLast(suffix.count))
    }
    .filter(ControlSocket.isInterfaceName).sorted()
  }
}
