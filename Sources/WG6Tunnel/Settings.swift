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
    if let need = Tunnel.need(of: name, except: interface) {
      throw TunnelError(
        "\(name) can't be set to \(value) (\(refusal)), and \(need). In a container, pass the option --sysctl "
          + "\(name)=\(value) to docker or podman")
    }
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

  /// Whether a reload has to set a setting that is not as it should be.
  func mustSet(_ name: String) -> Bool {
    Sysctl.refusal(of: name) == nil || Tunnel.need(of: name, except: interface) != nil
  }

  /// Why a tunnel can't do without a setting; nil if it can.
  private static func need(of name: String, except interface: String) -> String? {
    guard name == Setup.markedAnswers else { return "the tunnel needs it" }
    let directory = "/proc/sys/net/ipv4/conf"
    let filters = StateDirectory.names(in: directory).filter { $0 != interface }.map { interface in
      (interface, (try? Sysctl.value(of: "net/ipv4/conf/\(interface)/rp_filter")).flatMap { Int($0) } ?? 0)
    }
    return ReversePathFilter.strict(filters).map {
      "without it the reverse path filter of \($0) (rp_filter = 1) drops what peers send"
    }
  }
}

/// The kernel's check that a packet came from where an answer would go (RFC 3704).
enum ReversePathFilter {
  /// The first interface on which the check is strict, which the kernel decides by the larger of two settings: the
  /// interface's own, and that of “all”. 1 is strict, 2 is loose.
  static func strict(_ settings: [(interface: String, value: Int)]) -> String? {
    let all = settings.first { $0.interface == "all" }?.value ?? 0
    return settings.first {
      !["all", "default", "lo"].contains($0.interface) && max(all, $0.value) == 1
    }?.interface
  }
}
