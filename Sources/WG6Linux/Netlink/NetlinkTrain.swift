import CNetlink
import Glibc

/// Changes that are sent many at a time, without waiting for the answer to one before the next.
///
/// The kernel takes any number of requests in one write, carries them out in order, and answers those that fail; only the
/// last one of a write is asked to be answered in any case. On a connection of its own, for libnl expects an answer to
/// each request that it numbers.
@safe struct NetlinkTrain: ~Copyable {
  // SAFETY: allocated in init, freed in deinit, lent to libnl for the length of a call.
  private let socket: OpaquePointer
  private var bytes: [UInt8] = []
  /// What each request of the train has come to: 0, or an error of the kernel. Their sequence numbers count from 1.
  private var results: [Int32] = []

  /// So few that the answers fit the socket's buffer, should all of them fail: about 1 kB each, as the kernel counts.
  static let capacity = 256
  private static let bufferSize: Int32 = 1 << 20

  init() throws(NetlinkError) {
    let operation = "open a netlink socket"
    guard let socket = unsafe nl_socket_alloc() else { throw NetlinkError(NLE_NOMEM, operation) }
    var result = unsafe nl_connect(socket, NETLINK_ROUTE)
    if result >= 0 { result = unsafe nl_socket_set_buffer_size(socket, NetlinkTrain.bufferSize, 0) }
    guard result >= 0 else {
      unsafe nl_socket_free(socket)
      throw NetlinkError(result, operation)
    }
    unsafe self.socket = socket
    bytes.reserveCapacity(NetlinkTrain.capacity * 96)
  }

  deinit {
    unsafe nl_socket_free(socket)
  }

  var isFull: Bool { results.count == NetlinkTrain.capacity }

  /// Couples a request on, whose contents are copied. Precondition: the train is not full.
  @unsafe mutating func append(_ request: OpaquePointer) {
    precondition(!isFull)
    guard let header = unsafe nlmsg_hdr(request) else { return }
    results.append(0)
    unsafe header.pointee.nlmsg_seq = UInt32(results.count)
    unsafe header.pointee.nlmsg_pid = nl_socket_get_local_port(socket)
    unsafe header.pointee.nlmsg_flags |= UInt16(NLM_F_REQUEST)
    let length = unsafe Int(header.pointee.nlmsg_len)
    unsafe bytes.append(contentsOf: UnsafeRawBufferPointer(start: header, count: length))
    bytes.append(contentsOf: repeatElement(0, count: -length & 3))
    lastLength = length + (-length & 3)
  }

  /// Length of the last request, with its padding.
  private var lastLength = 0

  /// Sends what is coupled together, and returns what each request has come to: 0, or the kernel's error number. The train
  /// is empty then.
  mutating func depart(for operation: String) throws(NetlinkError) -> [Int32] {
    guard !results.isEmpty else { return [] }
    defer {
      bytes.removeAll(keepingCapacity: true)
      results.removeAll(keepingCapacity: true)
    }
    let flagsOffset = bytes.count - lastLength + 6
    bytes[flagsOffset] |= UInt8(NLM_F_ACK)
    let socket = unsafe socket
    let sent = unsafe bytes.withUnsafeMutableBytes { unsafe nl_sendto(socket, $0.baseAddress, $0.count) }
    guard sent >= 0 else { throw NetlinkError(sent, operation) }
    return try collect(for: operation)
  }

  private func collect(for operation: String) throws(NetlinkError) -> [Int32] {
    guard let callbacks = unsafe nl_cb_alloc(NL_CB_DEFAULT) else { throw NetlinkError(NLE_NOMEM, operation) }
    defer { unsafe nl_cb_put(callbacks) }
    let answers = Answers(count: results.count)
    let context = unsafe Unmanaged.passUnretained(answers).toOpaque()
    // The numbers are ours: libnl need not compare them with those that it would have given.
    unsafe nl_cb_set(callbacks, NL_CB_SEQ_CHECK, NL_CB_CUSTOM, { _, _ in Int32(NL_OK.rawValue) }, nil)
    unsafe nl_cb_set(
      callbacks, NL_CB_ACK, NL_CB_CUSTOM,
      { message, answers in
        guard let header = unsafe nlmsg_hdr(message) else { return Int32(NL_OK.rawValue) }
        return unsafe Answers.note(answers, header.pointee.nlmsg_seq, 0)
      }, context)
    unsafe nl_cb_err(
      callbacks, NL_CB_CUSTOM,
      { _, error, answers in
        guard let error = unsafe error else { return Int32(NL_SKIP.rawValue) }
        return unsafe Answers.note(answers, error.pointee.msg.nlmsg_seq, -error.pointee.error)
      }, context)
    // Each call brings at least one answer.
    for _ in 0..<results.count where !answers.areComplete {
      let result = withExtendedLifetime(answers) { unsafe nl_recvmsgs(socket, callbacks) }
      if result < 0 { throw NetlinkError(result, operation) }
    }
    return answers.results
  }

  private final class Answers {
    var results: [Int32]
    var areComplete = false

    init(count: Int) { results = Array(repeating: 0, count: count) }

    /// What libnl is to do next.
    static func note(_ context: UnsafeMutableRawPointer?, _ sequence: UInt32, _ error: Int32) -> Int32 {
      let answers = unsafe Unmanaged<Answers>.fromOpaque(context!).takeUnretainedValue()
      let index = Int(sequence) - 1
      if answers.results.indices.contains(index) {
        answers.results[index] = error
        answers.areComplete = index == answers.results.count - 1
      }
      return Int32(NL_SKIP.rawValue)
    }
  }
}

extension NetlinkTrain {
  /// Sends one request alone. Throws the kernel's error, in its own words or in those that `explain` has for it.
  @unsafe static func send(
    _ request: OpaquePointer, for operation: String, explain: (Int32) -> String? = { _ in nil }
  ) throws(NetlinkError) {
    var train = try NetlinkTrain()
    unsafe train.append(request)
    guard let error = try train.depart(for: operation).first, error != 0 else { return }
    throw NetlinkError(systemError: error, operation, explanation: explain(error))
  }
}
