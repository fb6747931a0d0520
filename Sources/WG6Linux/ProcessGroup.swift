import CLinux
import Glibc
import SystemPackage

/// A program and what it starts, as one process group, so that all of it can be ended.
///
/// The group has the terminal if this process has it: Ctrl-C and Ctrl-Z go there, and it can read what somebody types.
public struct ProcessGroup: ~Copyable {
  private let leader: Child
  private let process: ForeignProcess
  private let terminal: Terminal?

  /// How long the programs may take to end by SIGTERM before they are killed, in milliseconds.
  private static let grace: Int32 = 1000

  /// Starts the program at `path` as `Child` does. Throws `posix_spawn`'s error.
  public init(_ path: String, _ arguments: [String]) throws(Errno) {
    let terminal = Terminal()
    let child: Child
    do throws(Errno) {
      child = try Child(path, arguments, newGroup: true, terminal: terminal?.descriptor.rawValue)
    } catch {
      terminal?.take()
      throw error
    }
    let process = try ForeignProcess(child.processID)
    self.leader = child
    self.process = process
    self.terminal = terminal
  }

  /// Waits until the program has ended. Once `isInterrupted` says so, asked every 20 ms, ends the group.
  public consuming func wait(isInterrupted: () -> Bool) throws(Errno) -> Child.Ending {
    defer { terminal?.take() }
    while !process.waitForEnd(milliseconds: 20) {
      if isInterrupted() { return try end() }
      let signal = linux_stop_signal(leader.processID)
      if signal != 0 { stopToo(signal) }
    }
    // Ctrl-C was for this process too, with all that had the terminal before, and for programs in the background, which
    // ignore it.
    if terminal != nil, linux_end_signal(leader.processID) == SIGINT {
      kill(0, SIGINT)
      return try end()
    }
    return try leader.wait()
  }

  /// Ends every program of the group.
  private borrowing func end() throws(Errno) -> Child.Ending {
    send(SIGTERM)
    // One that is stopped could not end.
    send(SIGCONT)
    for _ in 0..<ProcessGroup.grace / 10 where hasMembers { usleep(10_000) }
    // The leader's number is not another process's before it was waited for.
    send(SIGKILL)
    return try leader.wait()
  }

  /// Whether a program of the group still runs.
  private var hasMembers: Bool {
    let group = leader.processID
    return ForeignProcess.all().contains { ForeignProcess.isRunning($0, inGroup: group) }
  }

  private borrowing func send(_ signal: Int32) { kill(-leader.processID, signal) }

  /// The program was stopped, as by Ctrl-Z: this process stops as well, with whoever waits for it, until it is continued.
  private borrowing func stopToo(_ signal: Int32) {
    guard let terminal, signal != SIGSTOP else { return }
    terminal.take()
    kill(0, signal)
    terminal.give(to: leader.processID)
    send(SIGCONT)
  }
}

/// The terminal that this process was started from and has for itself.
private final class Terminal {
  let descriptor: OwnedDescriptor

  /// nil if there is none, or other programs have it.
  init?() {
    let file = unsafe open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY)
    guard file >= 0 else { return nil }
    descriptor = OwnedDescriptor(file)
    if tcgetpgrp(file) != getpgrp() { return nil }
  }

  func take() { setGroup(getpgrp()) }

  /// Gives it to a group, unless this process was continued in the background.
  func give(to group: pid_t) {
    if tcgetpgrp(descriptor.rawValue) == getpgrp() { setGroup(group) }
  }

  private func setGroup(_ group: pid_t) {
    // Who does not have the terminal is stopped for taking it.
    var signals = sigset_t(), before = sigset_t()
    unsafe sigemptyset(&signals)
    unsafe sigaddset(&signals, SIGTTOU)
    unsafe pthread_sigmask(SIG_BLOCK, &signals, &before)
    tcsetpgrp(descriptor.rawValue, group)
    unsafe pthread_sigmask(SIG_SETMASK, &before, nil)
  }
}
