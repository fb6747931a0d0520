import CHarness
import Foundation

/// Questions and answers of one datagram each, between many clients on one host and a server on another, as between
/// programs and a resolver. Every client waits for its answer before it asks the next.
final class Questions {
  private let clients: [Int32]
  private let server: Int32

  /// What came of it.
  struct Result: Sendable {
    let answered: Int
    /// Asked again, since no answer came within half a second.
    let repeated: Int
    let seconds: Double
    /// Milliseconds from question to answer.
    let delays: [Double]
  }

  /// Opens the sockets; `target` is an address of `server`'s.
  init(from asker: Host, to server: Host, target: String, port: Int = 5300, clients count: Int) throws {
    let family = target.contains(":") ? AF_INET6 : AF_INET
    let address = try SocketAddress(target, port)
    self.server = try server.socket(family: family, type: SOCK_DGRAM)
    clients = try (0..<count).map { _ in try asker.socket(family: family, type: SOCK_DGRAM) }
    guard address.withPointer({ bind(self.server, $0, $1) }) == 0 else { throw SystemFailure("bind \(target)") }
    for client in clients {
      guard address.withPointer({ connect(client, $0, $1) }) == 0 else { throw SystemFailure("connect \(target)") }
    }
  }

  deinit {
    for descriptor in clients + [server] { close(descriptor) }
  }

  /// Has everybody ask for so many seconds: questions of `question` bytes, answers of `answer`.
  func ask(question: Int, answer: Int, seconds: Double) -> Result {
    let room = Int(seconds * 1e6)
    let times = UnsafeMutableBufferPointer<Double>.allocate(capacity: room)
    defer { times.deallocate() }
    let answers = Shared(harness_answers(socket: server, size: answer, stops: 0))
    let answering = Background { harness_answer(answers.memory) }
    let questions = clients.withUnsafeBufferPointer { sockets in
      let questions = Shared(
        harness_questions(
          sockets: sockets.baseAddress, count: Int32(sockets.count), size: question, duration: Int(seconds * 1e9),
          delays: times.baseAddress, delay_count: room, answered: 0, repeated: 0, elapsed: 0))
      Background { harness_ask(questions.memory) }.join()
      return questions.memory.pointee
    }
    harness_stop_answering(answers.memory)
    answering.join()
    return Result(
      answered: questions.answered, repeated: questions.repeated, seconds: Double(questions.elapsed) / 1e9,
      delays: Array(times.prefix(min(room, questions.answered))))
  }
}
