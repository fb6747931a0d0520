import Glibc
import SystemPackage
import WG6Linux

/// Kernel settings that a tunnel changes, and gives back.
extension Tunnel {
  /// Sets a kernel setting, and remembers what it was, or what it was before another tunnel set it. One that can't be
  /// written, as in a container, is left as it is if the tunnel works without.
  func set(_ name: String, to value: String, _ journal: inout Journal) throws(TunnelError) {
    let current: String
    do {
      current = try Sysctl.value(of: name)
    } catch {
      throw TunnelError("\(name): \(error)")
    }
    let before = settingsOfOthers()[name] ?? current
    if before == value { return }
    var refusal: Errno?
    if current == value {
      try write(.setting(name: name, before: before), to: &journal)
    } else {
      tell("\(name) = \(value)")
      do throws(TunnelError) {
        try make(.setting(name: name, before: before), in: &journal) { () throws(TunnelError) in
          do throws(Errno) {
            try Sysctl.set(name, to: value)
          } catch {
            refusal = error
            throw TunnelError("\(name): \(error)")
          }
        }
      } catch {
        if refusal == nil { throw error }
      }
    }
    guard let refusal else { return }
    if let problem = MarkedAnswers.problem(refusal, except: interface) { throw TunnelError(problem) }
    tell("\(name) stays \(current): \(refusal); nothing here needs it")
  }

  /// Gives a kernel setting its value back, unless another tunnel needs it as it is, or it has that value already.
  func restore(_ name: String, _ before: String) throws(TunnelError) {
    guard settingsOfOthers()[name] == nil else { return }
    do throws(Errno) {
      // A change that was journalled and never made can't be undone where it could not be made.
      if try Sysctl.value(of: name) == before { return }
      tell("\(name) = \(before)")
      try Sysctl.set(name, to: before)
    } catch .noSuchFileOrDirectory {
      return
    } catch {
      throw TunnelError("\(name): \(error)")
    }
  }

  /// What kernel settings were before other tunnels of this namespace changed them.
  func settingsOfOthers() -> [String: String] {
    var settings: [String: String] = [:]
    for case .setting(let name, let before) in entriesOfOthers() { settings[name] = before }
    return settings
  }

  /// Whether a setting that is not as it should be can be set, or must be.
  func mustSet(_ name: String) -> Bool {
    Sysctl.refusal(of: name).map { MarkedAnswers.problem($0, except: interface) != nil } ?? true
  }
}

/// The kernel setting that lets answers to marked datagrams pass a strict reverse path filter, the only one that tunnels
/// change.
enum MarkedAnswers {
  /// Why an IPv4 default route would lose its peers' answers on this machine; `nil` if it would not.
  static var problem: String? {
    guard (try? Sysctl.value(of: Setup.markedAnswers)) != "1", let refusal = Sysctl.refusal(of: Setup.markedAnswers)
    else {
      return nil
    }
    return problem(refusal)
  }

  /// The same where the setting is off and can't be written. The tunnel's own interface gets no marked datagrams.
  static func problem(_ refusal: Errno, except own: String? = nil) -> String? {
    // A person without rights learns nothing of what root may do.
    if geteuid() != 0 { return nil }
    let filters = StateDirectory.names(in: "/proc/sys/net/ipv4/conf").filter { $0 != own }.map { interface in
      (interface, (try? Sysctl.value(of: "net/ipv4/conf/\(interface)/rp_filter")).flatMap { Int($0) } ?? 0)
    }
    return ReversePathFilter.strict(filters).map {
      "\(Setup.markedAnswers) can't be set to 1 (\(refusal)), and without it the reverse path filter of \($0) "
        + "(rp_filter = 1) drops what peers send. In a container, pass the option --sysctl \(Setup.markedAnswers)=1 to "
        + "docker or podman"
    }
  }
}

/// The kernel's check that a packet came from where an answer would go (RFC 3704).
enum ReversePathFilter {
  /// The first interface on which the check is strict, which the kernel decides by the larger of two settings: the
  /// interface's own, and that of 'all'. 1 is strict, 2 is loose.
  static func strict(_ settings: [(interface: String, value: Int)]) -> String? {
    let all = settings.first { $0.interface == "all" }?.value ?? 0
    return settings.first {
      !["all", "default", "lo"].contains($0.interface) && max(all, $0.value) == 1
    }?.interface
  }
}
