import CLinux
import Glibc
import SystemPackage
import WG6Linux

/// Watches over what keeps traffic in a tunnel: the firewall table, the rules and the routes of its default routes. What
/// another program deletes is restored, and where the machine comes into other networks, the kill switch follows, and so does
/// all else that `lan` stands for, by a reload. Ends when the tunnel has gone down.
///
/// It holds no key. It changes something only while it has the tunnel's lock, or the command that has it says so, and only
/// what the journal says: so it never restores what `down` or `reload` has just removed.
public struct Watcher: ~Copyable {
  private let tunnel: Tunnel
  private let log: (String) -> Void
  private let events: PolicyEvents
  private let journals: DirectoryWatch
  private let signals: SignalReader
  private let own: InterfaceLock
  private var guarded: GuardedState
  private var pace = Pace()
  private var restorations: Restorations
  /// How often it has looked on behalf of a command.
  private var rounds = 0
  private let program: String
  private var following = NetworkFollowing()
  private var reload: Child?

  /// - Parameters:
  ///   - program: this program's own path, for a reload where the local networks have changed.
  ///   - log: is told what was deleted and restored.
  public init(_ interface: String, program: String, log: @escaping (String) -> Void) throws {
    let signals = try SignalReader([SIGUSR1, SIGUSR2, SIGCHLD])
    let events = try PolicyEvents(table: FirewallRules(interface: interface).tableName)
    let journals = try DirectoryWatch(StateDirectory.path)
    own = InterfaceLock(given: WatchingProcess.lockDescriptor, of: interface, for: .watching)
    // A reload must not have it: it is this process's.
    _ = fcntl(WatchingProcess.lockDescriptor, F_SETFD, FD_CLOEXEC)
    self.program = program
    tunnel = Tunnel(interface, tell: { _ in }, warn: log, announce: { _ in })
    self.log = log
    self.events = events
    self.journals = journals
    self.signals = signals
    guarded = GuardedState(tunnel)
    // One that was killed may have left it.
    restorations = Restorations.read(interface) ?? Restorations()
  }

  private enum Outcome {
    case fine
    /// There is no tunnel to watch over any more.
    case over
    /// Look again at this time.
    case later(UInt64)
  }

  /// Watches until the tunnel is no more.
  public mutating func run() {
    // The command that started this process waits for the first look, and has the lock.
    var outcome = lookForCommand()
    while true {
      var deadline: UInt64?
      switch outcome {
      case .over:
        Restorations.remove(tunnel.interface)
        return own.release()
      case .fine: break
      case .later(let time): deadline = time
      }
      followNetworks()
      sleep(until: [deadline, following.due].compactMap { $0 }.min())
      var isToLook = deadline.map { $0 <= Watcher.now } ?? false
      while let signal = signals.next() {
        if signal == SIGUSR1 {
          guarded.letGo()
        } else if signal == SIGCHLD {
          endReload()
        } else {
          outcome = lookForCommand()
        }
        if case .over = outcome { break }
      }
      if case .over = outcome { continue }
      if events.take() { isToLook = true }
      if journals.take(suffix: ".journal") { isToLook = true }
      if isToLook { outcome = look() }
    }
  }

  /// Looks while a command has the lock and waits for the end of it.
  private mutating func lookForCommand() -> Outcome {
    let outcome = restore()
    rounds += 1
    own.note("\(rounds)")
    return outcome
  }

  private mutating func look() -> Outcome {
    do throws(TunnelError) {
      switch try guarded.assess() {
      case .over: return .over
      case .fine: return .fine
      case .changed: break
      case .damaged: if Watcher.now < pace.earliest { return .later(pace.earliest) }
      }
    } catch {
      return .later(Watcher.now + Pace.longest)
    }
    // A command that has the lock changes the tunnel: when it is done, it is clear what should be there.
    guard let lock = try? InterfaceLock(tunnel.interface) else { return .later(Watcher.now + 20_000_000) }
    defer { lock.release() }
    return restore()
  }

  /// Restores what is missing; nobody else changes the tunnel meanwhile.
  private mutating func restore() -> Outcome {
    do throws(TunnelError) {
      let restored = try guarded.restore()
      guard let restored else { return .over }
      for line in guarded.takeNews() { log(line) }
      if restored.isEmpty {
        if !restorations.failure.isEmpty { note { $0.failure = "" } }
        return .fine
      }
      let what = restored.joined(separator: ", ")
      log("\(what) had been deleted or changed by another program; restored")
      note { $0.restored(what, at: time(nil)) }
      if pace.restored(at: Watcher.now) {
        log("another program keeps doing so; it is undone more slowly from now on, once a second at the slowest")
      }
      return .fine
    } catch {
      log("\(error)")
      note { $0.failure = "\(error)" }
      return .later(Watcher.now + Pace.longest)
    }
  }

  /// Has a reload follow the local networks, as soon as they stay as they are for a moment.
  private mutating func followNetworks() {
    guard reload == nil, following.isDue(guarded.lan, at: Watcher.now) else { return }
    log("the local networks are others now: reloading the file for what lan stands for")
    do throws(Errno) {
      reload = try Child(program, ["reload", "--follow-networks"] + Child.argument(tunnel.interface))
    } catch {
      log("\(program): \(error)")
    }
  }

  private mutating func endReload() {
    guard let child = reload, let ending = try? child.poll() else { return }
    reload = nil
    if ending != .exited(0) {
      log("the tunnel leaves outside what was local before, until 'wg6 reload \(tunnel.interface)' succeeds")
    }
  }

  /// Writes down what happened, for `show` and `check`.
  private mutating func note(_ change: (inout Restorations) -> Void) {
    change(&restorations)
    restorations.write(tunnel.interface)
  }

  private func sleep(until deadline: UInt64?) {
    var watched = (events.descriptors + [journals.descriptor.rawValue, signals.descriptor.rawValue]).map {
      pollfd(fd: $0, events: Int16(POLLIN), revents: 0)
    }
    var timeout: Int32 = -1
    if let deadline {
      let now = Watcher.now
      timeout = deadline > now ? Int32(min((deadline - now) / 1_000_000 + 1, 10_000)) : 0
    }
    _ = unsafe poll(&watched, nfds_t(watched.count), timeout)
  }

  /// Nanoseconds of the boot-time clock.
  private static var now: UInt64 {
    var time = timespec()
    unsafe clock_gettime(CLOCK_BOOTTIME, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }
}
