import Synchronization

/// Since when something waits: data that nothing came back for, data that nothing went back for.
///
/// A data thread begins and ends the waiting, as often as packets come and go; a timer of the control path watches. The
/// control path is told only where nobody watches yet, so that steady traffic never wakes it.
struct Waiting: ~Copyable {
  private let since = Atomic<Nanoseconds>(0)
  private let isWatched = Atomic<Bool>(false)

  // MARK: A data thread's side

  /// It waits from `now` on, unless it waits already.
  ///
  /// - Returns: whether the control path must be told to watch.
  func begin(at now: Nanoseconds) -> Bool {
    guard since.load(ordering: .relaxed) == 0 else { return false }
    // Either this store is seen by the watcher that leaves, or its leaving is seen here.
    since.store(now, ordering: .sequentiallyConsistent)
    return !isWatched.load(ordering: .sequentiallyConsistent)
  }

  /// What it waited for has come. Cheap where it did not wait.
  func end() {
    if since.load(ordering: .relaxed) != 0 { since.store(0, ordering: .relaxed) }
  }

  // MARK: The control path's side

  /// Begins to watch, also where what was waited for has come meanwhile: the next packet would only call for a watcher
  /// again.
  ///
  /// - Returns: since when it waits; `now` where it does not.
  func watch(now: Nanoseconds) -> Nanoseconds {
    isWatched.store(true, ordering: .sequentiallyConsistent)
    return beganAt ?? now
  }

  /// Tells, to a watcher whose timer has fired, since when it waits; where it does not, the watch is over.
  func stillWaiting() -> Nanoseconds? { beganAt ?? endWatch() }

  /// Ends the watch of a watcher that saw nothing wait, unless it began since.
  ///
  /// - Returns: since when it waits, if the watch goes on.
  func endWatch() -> Nanoseconds? {
    isWatched.store(false, ordering: .sequentiallyConsistent)
    guard let since = beganAt else { return nil }
    // The data thread that began it may have seen that it was still watched, and told the control path nothing.
    isWatched.store(true, ordering: .sequentiallyConsistent)
    return since
  }

  /// Nothing waits, and the watch is over.
  func reset() {
    since.store(0, ordering: .relaxed)
    isWatched.store(false, ordering: .sequentiallyConsistent)
  }

  private var beganAt: Nanoseconds? {
    let value = since.load(ordering: .sequentiallyConsistent)
    return value == 0 ? nil : value
  }
}
