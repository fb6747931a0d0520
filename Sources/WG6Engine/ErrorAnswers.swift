import Logging
import SystemPackage
import WG6Linux

/// The control thread's part in ICMP errors: sends those that the outbound thread has composed.
struct ErrorAnswers {
  private var sender: ErrorSender?
  private var hasComplained = false

  /// Sends what waits: at most as much as the ring holds.
  mutating func send(_ wires: Wires, _ log: Logger) {
    while let error = wires.errors.pop() {
      prepare(wires, log)
      unsafe error.withBytes { packet in
        if unsafe sender?.send(packet) ?? false { return }
        // As if it came out of the tunnel, from where the packet was to go: that needs no rights and finds back through NAT.
        _ = unsafe wires.tun.write(packet)
      }
    }
  }

  /// Makes a sender where there is none, or the interface has gone to another namespace.
  private mutating func prepare(_ wires: Wires, _ log: Logger) {
    if let isThere = sender?.isAt(wires.tun) {
      if isThere { return }
      sender = nil
      hasComplained = false
    }
    guard !hasComplained else { return }
    do throws(Errno) {
      sender = try ErrorSender(for: wires.tun)
    } catch {
      hasComplained = true
      log.notice("ICMP errors come from where their packets were to go: cannot open raw sockets (\(error))")
    }
  }
}
