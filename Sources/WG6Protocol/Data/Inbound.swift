import WG6Crypto

/// The way in, whole: datagrams in, packets out. Belongs to one thread, which reads datagrams from the network and writes
/// packets to the device. Where several threads share the work, they share its parts instead.
public struct Inbound: ~Copyable {
  private let reader: DataReader
  private let cipher: TrainCipher
  private var arrivals: Arrivals
  private var delivery: Delivery

  /// What became of a datagram.
  public enum Verdict {
    /// A packet for the device: its offset in the datagram, and its length.
    case packet(offset: Int, length: Int)
    /// A handshake message or a cookie reply, for the control path.
    case control
    /// A keepalive, or something dropped and counted.
    case nothing
  }

  /// - Parameters:
  ///   - reader: this thread's number, below `Quiescence.readerCapacity`, no other thread's.
  ///   - cipher: what data is opened with.
  public init(plane: DataPlane, reader: Int, cipher: consuming TrainCipher = TrainCipher(.sodium)) {
    self.reader = DataReader(plane, number: reader)
    self.cipher = cipher
    arrivals = Arrivals(plane: plane, capacity: 1)
    delivery = Delivery(plane: plane)
  }

  /// Whether the control path has something to be told. The thread wakes it and sets this back.
  public var wantsControl: Bool {
    get { delivery.wantsControl }
    set { delivery.wantsControl = newValue }
  }

  /// Call after waking up and between batches: from here on, what was looked up before is forgotten.
  public func pass() { reader.pass() }

  /// Call before sleeping.
  public func leave() { reader.leave() }

  /// Opens `datagram` where it is.
  ///
  /// - Parameter path: where it came from, and the local address that it came to.
  public mutating func open(_ datagram: UnsafeMutableRawBufferPointer, from path: PackedPath, now: Nanoseconds)
    -> Verdict
  {
    var isControl = false
    _ = unsafe arrivals.take(datagram, segmentSize: 0, from: path, now: now) { _ in isControl = true }
    guard !isControl else { return .control }
    defer { arrivals.removeAll() }
    guard arrivals.count > 0 else { return .nothing }
    arrivals.open(with: cipher)
    guard let length = delivery.accept(arrivals, 0, now: now) else { return .nothing }
    return .packet(offset: DataMessage.header, length: length)
  }
}
