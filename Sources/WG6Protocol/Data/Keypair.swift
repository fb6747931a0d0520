import Synchronization
import WG6Crypto

/// The keys of one session, and what both data threads keep with them.
///
/// Lives at a stable address from `Keypair.create` to `Keypair.destroy`; the threads reach it by receiver index or
/// through its peer, and the control path frees it after they have all passed a quiescent point.
@safe struct Keypair: ~Copyable {
  /// What we call this session: the receiver index of messages to us.
  let localIndex: UInt32
  /// What the peer calls it.
  let remoteIndex: UInt32
  let peer: PeerReference
  let createdAt: Nanoseconds
  /// Who starts the next handshake when this one grows old.
  let isInitiator: Bool
  /// 64 bytes of `SecretMemory`: the sending key, the receiving key.
  private let keys: UnsafeMutableRawPointer

  /// The counter of the next message sent.
  let sendCounter: Atomic<UInt64>
  /// Whether anything authentic has come in under it.
  let isConfirmed = Atomic<Bool>(false)
  /// The inbound thread's own: apart from what other threads read, so that its writing here excludes nobody there.
  let replay: UnsafeMutablePointer<ReplayWindow>

  init(
    localIndex: UInt32, remoteIndex: UInt32, peer: PeerReference, createdAt: Nanoseconds, isInitiator: Bool,
    keys transport: borrowing NoiseIK.TransportKeys, firstCounter: UInt64
  ) {
    self.localIndex = localIndex
    self.remoteIndex = remoteIndex
    self.peer = peer
    self.createdAt = createdAt
    self.isInitiator = isInitiator
    sendCounter = Atomic(firstCounter)
    unsafe replay = .allocate(capacity: 1)
    unsafe replay.initialize(to: ReplayWindow())
    let keys = unsafe SecretMemory.allocate(byteCount: 64)
    transport.sending.withBytes { bytes in
      unsafe bytes.withUnsafeBytes { unsafe keys.copyMemory(from: $0.baseAddress!, byteCount: 32) }
    }
    transport.receiving.withBytes { bytes in
      unsafe bytes.withUnsafeBytes { unsafe (keys + 32).copyMemory(from: $0.baseAddress!, byteCount: 32) }
    }
    unsafe self.keys = keys
  }

  deinit {
    unsafe SecretMemory.deallocate(keys, byteCount: 64)
    unsafe replay.deallocate()
  }

  var sendingKey: UnsafePointer<UInt8> { unsafe UnsafePointer(keys.assumingMemoryBound(to: UInt8.self)) }
  var receivingKey: UnsafePointer<UInt8> { unsafe UnsafePointer((keys + 32).assumingMemoryBound(to: UInt8.self)) }

  /// Reserves the counter of one message.
  func takeCounter() -> UInt64 { sendCounter.wrappingAdd(1, ordering: .relaxed).oldValue }

  func isAlive(at now: Nanoseconds) -> Bool {
    now.since(createdAt) < Limits.rejectAfterTime
  }

  /// Reserves the counters of up to `count` messages: those from `first` on, as many of them as there are left.
  func takeCounters(_ count: Int) -> (first: UInt64, count: Int) {
    let first = sendCounter.wrappingAdd(UInt64(count), ordering: .relaxed).oldValue
    guard first < Limits.rejectAfterMessages else { return (first, 0) }
    return (first, Int(min(UInt64(count), Limits.rejectAfterMessages - first)))
  }

  /// How many messages there are counters left for; more than anyone asks for is not told apart.
  var countersLeft: Int {
    let next = sendCounter.load(ordering: .relaxed)
    return next < Limits.rejectAfterMessages ? Int(clamping: Limits.rejectAfterMessages - next) : 0
  }

  /// Takes every counter that is left: nothing more is sent under it. What comes in under it is still taken.
  func endSending() {
    sendCounter.store(Limits.rejectAfterMessages, ordering: .relaxed)
  }

  /// Whether there is a counter left for another message.
  var hasCounters: Bool { countersLeft > 0 }

  /// Whether messages may still be sent under it.
  func canSend(at now: Nanoseconds) -> Bool {
    isAlive(at: now) && hasCounters
  }

  /// Whether sending under it is a reason to start a new handshake.
  func isDueWhenSending(at now: Nanoseconds) -> Bool {
    sendCounter.load(ordering: .relaxed) >= Limits.rekeyAfterMessages
      || isInitiator && now.since(createdAt) >= Limits.rekeyAfterTime
  }

  /// Whether receiving under it is a reason to start one: the answer might otherwise find no living key.
  func isDueWhenReceiving(at now: Nanoseconds) -> Bool {
    isInitiator && now.since(createdAt) >= Limits.rekeyAfterTimeReceiving
  }
}

/// The address of a keypair.
@safe struct KeypairReference: Equatable, @unchecked Sendable {
  // SAFETY: only the control path holds one, and data threads between two quiescent points.
  let pointer: UnsafeMutablePointer<Keypair>

  static func == (left: KeypairReference, right: KeypairReference) -> Bool { unsafe left.pointer == right.pointer }

  static func create(_ keypair: consuming Keypair) -> KeypairReference {
    let pointer = UnsafeMutablePointer<Keypair>.allocate(capacity: 1)
    unsafe pointer.initialize(to: keypair)
    return unsafe KeypairReference(pointer: pointer)
  }

  /// Zeroes the keys and frees the place.
  func destroy() {
    unsafe pointer.deinitialize(count: 1)
    unsafe pointer.deallocate()
  }

  /// The keypair whose address is `word`; nil for 0.
  init?(word: UInt) {
    guard let pointer = unsafe UnsafeMutablePointer<Keypair>(bitPattern: word) else { return nil }
    unsafe self.init(pointer: pointer)
  }

  init(pointer: UnsafeMutablePointer<Keypair>) {
    unsafe self.pointer = pointer
  }

  /// The address of `keypair` as a word, 0 for nil.
  static func word(of keypair: KeypairReference?) -> UInt {
    keypair.map { unsafe UInt(bitPattern: $0.pointer) } ?? 0
  }

  var localIndex: UInt32 { unsafe pointer.pointee.localIndex }
  var createdAt: Nanoseconds { unsafe pointer.pointee.createdAt }
  var isConfirmed: Bool { unsafe pointer.pointee.isConfirmed.load(ordering: .acquiring) }

  func canSend(at now: Nanoseconds) -> Bool { unsafe pointer.pointee.canSend(at: now) }
  func isDueWhenSending(at now: Nanoseconds) -> Bool { unsafe pointer.pointee.isDueWhenSending(at: now) }

  /// Whether sending or receiving under it is a reason to start a new handshake.
  func isDue(at now: Nanoseconds) -> Bool {
    unsafe pointer.pointee.isDueWhenSending(at: now) || pointer.pointee.isDueWhenReceiving(at: now)
  }
}
