import Synchronization
import Testing
import WG6Crypto

@testable import WG6Engine
@testable import WG6Linux

/// What went through a line: each number is worked on once and finished in order.
private struct Number: LinePiece, ~Copyable {
  var value = 0
  var isWorked = false
  var isSmall: Bool { value % 7 == 0 }

  mutating func work(with cipher: borrowing TrainCipher) {
    // Some take longer than others, and so come to an end out of order.
    var sum = value
    for step in 0..<(value % 13) * 200 { sum = sum &* 31 &+ step }
    isWorked = sum != .min && !isWorked
  }

  mutating func finish(by ledger: Ledger) {
    ledger.enter(value, isWorked: isWorked)
    value = 0
    isWorked = false
  }
}

/// Not locked, so that two that finish at once are seen by the thread sanitizer, and as a rule by the test.
private final class Ledger: @unchecked Sendable {
  private(set) var values: [Int] = []
  private(set) var unworked = 0

  func enter(_ value: Int, isWorked: Bool) {
    values.append(value)
    if !isWorked { unworked += 1 }
  }
}

@Suite struct `A line of work` {
  @Test(arguments: [0, 1, 3, 6]) func `is finished in order, each piece worked on once`(helpers: Int) throws {
    let ledger = Ledger()
    let line = OrderedLine(finisher: ledger, cipher: .sodium, helperCount: helpers) { Number() }
    line.prepare()
    var threads: [JoinedThread] = []
    for _ in 0..<helpers { threads.append(JoinedThread(try Thread(named: "help") { line.help() })) }
    let count = 20_000
    for value in 1...count {
      var piece = Number(value: value)
      if value % 1009 == 0 { line.submitAtOnce(&piece) } else { line.submit(&piece) }
      #expect(piece.value == 0 && !piece.isWorked)
      if value % 501 == 0 {
        line.drain()
        #expect(ledger.values.count == value)
      }
    }
    line.drain()
    line.end()
    for thread in threads { thread.join() }
    #expect(ledger.values == Array(1...count))
    #expect(ledger.unworked == 0)
  }
}

private final class JoinedThread {
  private var thread: Thread?
  init(_ thread: consuming Thread) { self.thread = consume thread }
  func join() { thread.take()?.join() }
}
