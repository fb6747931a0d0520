import CLinux
import Glibc
import SystemPackage
import WG6Config
import WG6Crypto
import WG6Linux

/// The control socket and its clients: takes requests apart, and has answers written as fast as each client reads.
///
/// Runs on the control thread and never blocks it. A client may send requests one behind the other, in pieces of any
/// size; one that takes the memory of all clients past `byteLimit` ends its connection.
final class ControlServer {
  static let clientLimit = 128
  /// Reads and answers of one client before others, timers and handshakes have their turn.
  static let stepsATurn = 64

  /// Bytes of all clients' requests and answers together: a million allowed IPs take about 40 MiB.
  var byteLimit = 256 << 20
  /// Bytes of a key log that a client may leave unread: the keys of some ten thousand handshakes.
  static let logLimit = 1 << 20

  let listener: OwnedDescriptor
  /// The socket's file, removed at the end; `nil` where someone else made it.
  let path: String?
  /// Which file that is: another daemon's socket may stand there by the end.
  private let file: FileIdentity?
  private var clients: [Int32: Client] = [:]
  /// Whether someone could not be let in for want of descriptors or memory.
  private(set) var someoneWaits = false

  private final class Client {
    let descriptor: OwnedDescriptor
    let caller: ControlCaller
    var parser = ControlRequestParser()
    var input = WipedBytes()
    /// Where the first line begins that was not taken yet, and up to where there is no line's end.
    var start = 0
    var searched = 0
    /// Of the request that is being read.
    var requestBytes = 0
    var output = WipedBytes()
    var written = 0
    var wantsWriting = false
    var hasEnded = false

    init(_ descriptor: consuming OwnedDescriptor) {
      caller = ControlCaller(at: descriptor)
      self.descriptor = descriptor
    }
  }

  /// Listens at the interface's place under `ControlSocket.directory`, taking the place of a dead daemon's socket.
  init(for interface: String) throws(Errno) {
    let path = ControlSocket.path(of: interface)
    if unsafe mkdir(ControlSocket.directory, 0o755) != 0, errno != EEXIST { throw Errno(rawValue: errno) }
    let raw = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
    guard raw >= 0 else { throw Errno(rawValue: errno) }
    let listener = OwnedDescriptor(raw)
    if ControlSocket.isAlive(interface) { throw .addressInUse }
    ControlSocket.removeStale(interface)
    // Bound under another name and moved into place once it listens: a socket that does not listen looks like a dead
    // daemon's, and clients remove those.
    let unfinished = "\(path).\(getpid())"
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    guard unfinished.utf8.count < MemoryLayout.size(ofValue: address.sun_path) else { throw .fileNameTooLong }
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: unfinished.utf8) }
    // Only the owner may ever open it, not even for a moment another.
    let mask = umask(0o077)
    let result = unsafe withUnsafePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe bind(raw, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    let bindError = errno
    umask(mask)
    guard result == 0 else { throw Errno(rawValue: bindError) }
    guard listen(raw, 64) == 0, unsafe rename(unfinished, path) == 0 else {
      let error = Errno(rawValue: errno)
      unsafe unlink(unfinished)
      throw error
    }
    self.listener = listener
    self.path = path
    file = FileIdentity(of: path)
  }

  /// Takes over a listening socket that someone else opened.
  init(takingOver raw: Int32) throws(Errno) {
    guard fcntl(raw, F_SETFL, fcntl(raw, F_GETFL) | O_NONBLOCK) == 0 else { throw Errno(rawValue: errno) }
    _ = fcntl(raw, F_SETFD, FD_CLOEXEC)
    listener = OwnedDescriptor(raw)
    path = nil
    file = nil
  }

  deinit {
    if let path, isInPlace { unsafe unlink(path) }
  }

  /// Whether the socket's file is still there; who removes it wants the daemon to end, as on other systems.
  var isInPlace: Bool {
    guard let path else { return true }
    return FileIdentity(of: path) == file
  }

  /// Takes in whoever waits to be let in. The poller tells of arrivals only: where no descriptor is left to let someone
  /// in by, it would tell of them for ever, so they wait until a client has gone.
  func accept(_ poller: borrowing Poller, token: (Int32) -> UInt64) {
    someoneWaits = false
    while true {
      let raw = linux_accept(listener.rawValue)
      if raw < 0 {
        if [EINTR, ECONNABORTED].contains(-raw) { continue }
        someoneWaits = -raw != EAGAIN
        return
      }
      let descriptor = OwnedDescriptor(raw)
      guard clients.count < ControlServer.clientLimit, (try? poller.add(raw, token: token(raw))) != nil else {
        continue
      }
      clients[raw] = Client(descriptor)
    }
  }

  /// A client can be read from or written to: reads what is there, answers each whole request by `answer`.
  ///
  /// A request is looked at only once the answer before it is written: who sends many and reads none costs one answer.
  func serve(
    _ number: Int32, _ poller: borrowing Poller, token: UInt64,
    answer: (ControlRequest, ControlCaller, inout WipedBytes) -> Void
  ) {
    guard let client = clients[number] else { return }
    var waitsForInput = false
    for _ in 0..<ControlServer.stepsATurn {
      guard write(client) else { return close(number, poller) }
      if client.written < client.output.count { break }
      if answerNext(client, answer) { continue }
      if client.hasEnded { return close(number, poller) }
      if !read(client) {
        waitsForInput = true
        break
      }
    }
    // Who still has requests waiting is called again as soon as it can be written to, now or later.
    guard waitsForInput == client.wantsWriting else { return }
    client.wantsWriting = !waitsForInput
    try? poller.change(number, token: token, events: waitsForInput ? Poller.readable : Poller.writable)
  }

  /// Writes `text` to each client that keeps a key log. One that has left `logLimit` bytes unread is hung up on: it is
  /// to have all of the log or to know that it has not.
  func writeToKeyLogs(_ text: borrowing WipedBytes, _ poller: borrowing Poller, token: (Int32) -> UInt64) {
    for (number, client) in clients where client.caller.keepsKeyLog {
      let waiting = client.output.count - client.written
      guard waiting <= ControlServer.logLimit else {
        close(number, poller)
        continue
      }
      text.withBytes { client.output.append($0) }
      guard write(client) else {
        close(number, poller)
        continue
      }
      guard client.written < client.output.count, !client.wantsWriting else { continue }
      client.wantsWriting = true
      try? poller.change(number, token: token(number), events: Poller.writable)
    }
  }

  /// Whether any client keeps a key log.
  var hasKeyLogs: Bool { clients.values.contains { $0.caller.keepsKeyLog } }

  // MARK: Private

  private func close(_ number: Int32, _ poller: borrowing Poller) {
    poller.remove(number)
    clients[number] = nil
  }

  /// Reads what is there; false where nothing is. At the end of input the client `hasEnded`.
  private func read(_ client: Client) -> Bool {
    let number = client.descriptor.rawValue
    var count = 0
    unsafe client.input.append(upTo: 65536) { buffer in
      count = unsafe Glibc.read(number, buffer.baseAddress!, buffer.count)
      return max(count, 0)
    }
    if count < 0, errno == EAGAIN || errno == EINTR { return false }
    if count <= 0 { client.hasEnded = true }
    return true
  }

  /// Takes lines up to the end of a request, and has that answered; false where its end has not come yet.
  private func answerNext(
    _ client: Client, _ answer: (ControlRequest, ControlCaller, inout WipedBytes) -> Void
  ) -> Bool {
    var hasAnswered = false
    client.input.withBytes { bytes in
      while client.searched < bytes.byteCount, !hasAnswered {
        let end = client.searched
        client.searched += 1
        guard bytes.byte(at: end) == UInt8(ascii: "\n") else { continue }
        client.requestBytes += client.searched - client.start
        if let request = client.parser.line(bytes.extracting(client.start..<end)) {
          answer(request, client.caller, &client.output)
          client.requestBytes = 0
          hasAnswered = true
        }
        client.start = client.searched
      }
    }
    if hasAnswered { return true }
    client.input.removeFirst(client.start)
    client.searched -= client.start
    client.start = 0
    // Neither requests nor a line may grow for ever.
    if bytesHeld > byteLimit { return refuse(client, E2BIG) }
    if client.input.count > ControlRequestParser.maximumLineLength { return refuse(client, EMSGSIZE) }
    return false
  }

  /// Bytes of requests that are being read, and of answers that are being written.
  private var bytesHeld: Int { clients.values.reduce(0) { $0 + $1.requestBytes + $1.input.count + $1.output.count } }

  /// Answers with an errno, and hears no more.
  private func refuse(_ client: Client, _ errno: Int32) -> Bool {
    ControlAnswer.write(errno: errno, to: &client.output)
    client.input.removeAll()
    client.searched = 0
    client.requestBytes = 0
    client.hasEnded = true
    return true
  }

  /// Writes what the client takes; false where it has gone.
  private func write(_ client: Client) -> Bool {
    while client.written < client.output.count {
      let count = client.output.withBytes { bytes in
        unsafe bytes.extracting(client.written..<bytes.byteCount).withUnsafeBytes {
          unsafe client.caller.send($0, to: client.descriptor.rawValue)
        }
      }
      if count < 0 {
        if errno == EINTR { continue }
        return errno == EAGAIN
      }
      client.written += count
    }
    client.output.removeAll()
    client.written = 0
    return true
  }
}

/// What makes a file this one, whatever stands in its place later.
private struct FileIdentity: Equatable {
  let device: dev_t
  let inode: ino_t

  /// Nil where there is no file.
  init?(of path: String) {
    var status = stat()
    guard unsafe lstat(path, &status) == 0 else { return nil }
    device = status.st_dev
    inode = status.st_ino
  }
}
