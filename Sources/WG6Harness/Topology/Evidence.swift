import Foundation

/// What a failed scenario leaves for a person to read: logs, interfaces, routes, sockets, captures.
enum Evidence {
  /// Gathers everything into a directory of its own and returns its path. Collecting never fails; it gathers what it can.
  static func collect(from lab: Lab, title: String, error: any Error) -> String {
    let root = ProcessInfo.processInfo.environment["WG6_EVIDENCE"] ?? "/tmp/wg6-evidence"
    let slug = String(title.map { $0.isLetter || $0.isNumber ? $0 : "-" })
    let place = "\(root)/\(slug)-\(lab.name)"
    try? Files.makeDirectory(place)
    try? Files.write("\(title)\n\(error)\n", to: place + "/reason")

    for capture in lab.captures {
      capture.stop()
      try? Files.write(capture.digest(), to: "\(place)/\(capture.host.name)-\(capture.interface).txt")
      try? FileManager.default.copyItem(
        atPath: capture.path, toPath: "\(place)/\(capture.host.name)-\(capture.interface).pcap")
    }
    for host in lab.hosts { try? Files.write(state(of: host), to: "\(place)/\(host.name)-state.txt") }
    for guest in lab.guests { try? Files.write(guest.console, to: "\(place)/\(guest.name)-console.txt") }
    try? FileManager.default.copyItem(atPath: lab.directory + "/logs", toPath: place + "/logs")
    removeEmptyFiles(in: place + "/logs")
    return place
  }

  /// What the tools say about a host.
  private static func state(of host: Host) -> String {
    let questions: [[String]] = [
      ["wg", "show"], ["ip", "addr"], ["ip", "-4", "route", "show", "table", "all"],
      ["ip", "-6", "route", "show", "table", "all"], ["ip", "neigh"], ["ss", "-nuap"], ["nft", "list", "ruleset"],
      ["conntrack", "-L"],
    ]
    return questions.map { words in
      let answer = try? host.attempt(words, within: 5)
      return "$ \(words.joined(separator: " "))\n\(answer?.output ?? "")\(answer?.complaints ?? "")"
    }.joined(separator: "\n")
  }

  /// Most programs print nothing; their empty files would bury the rest.
  private static func removeEmptyFiles(in directory: String) {
    for name in Files.names(in: directory) {
      var status = stat()
      if stat("\(directory)/\(name)", &status) == 0, status.st_size == 0 { unlink("\(directory)/\(name)") }
    }
  }
}
