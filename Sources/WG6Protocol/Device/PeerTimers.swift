/// The deadlines of one peer. What each is for:
///
/// - `retransmitHandshake`: an initiation is out, or was not allowed out yet; when it passes, the next one goes.
/// - `newHandshake`: data went out and nothing came back; a new session may help.
/// - `sendKeepalive`: data came in and nothing went back; the other end waits for a sign.
/// - `persistentKeepalive`: nothing went out for the configured time; a NAT may be about to forget us.
/// - `lookForSilence`: `DeadAfter` is set, and it is time to see whether the peer was heard.
/// - `zeroKeys`: no new session for so long that nothing of the old ones may remain.
enum PeerTimer: Int, CaseIterable {
  case retransmitHandshake, newHandshake, sendKeepalive, persistentKeepalive, lookForSilence, zeroKeys
}

/// A flat table of deadlines, none of them running at first.
struct PeerTimers {
  private static let never = Nanoseconds.max
  private var deadlines = InlineArray<6, Nanoseconds>(repeating: never)

  subscript(timer: PeerTimer) -> Nanoseconds? {
    get { deadlines[timer.rawValue] == PeerTimers.never ? nil : deadlines[timer.rawValue] }
    set { deadlines[timer.rawValue] = newValue ?? PeerTimers.never }
  }

  func isRunning(_ timer: PeerTimer) -> Bool { self[timer] != nil }

  /// The next deadline; `nil` while nothing runs.
  var earliest: Nanoseconds? {
    var earliest = PeerTimers.never
    for index in deadlines.indices { earliest = min(earliest, deadlines[index]) }
    return earliest == PeerTimers.never ? nil : earliest
  }

  /// Stops and returns a timer whose deadline has passed.
  mutating func takeExpired(at now: Nanoseconds) -> PeerTimer? {
    for timer in PeerTimer.allCases where deadlines[timer.rawValue] <= now {
      self[timer] = nil
      return timer
    }
    return nil
  }

  mutating func stopAll() {
    deadlines = InlineArray(repeating: PeerTimers.never)
  }
}
