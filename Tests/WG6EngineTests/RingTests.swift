import Foundation
import Testing
import WG6Protocol

@testable import WG6Engine

@Suite struct `A ring between two threads` {
  private func message(_ number: Int) -> ControlMessage {
    withUnsafeBytes(of: number) { ControlMessage($0)! }
  }

  private func number(_ entry: ArrivedMessage?) -> Int? {
    entry?.message.withUnsafeBytes { $0.loadUnaligned(as: Int.self) }
  }

  @Test func `keeps order, tells how full it is, and takes no more than it holds`() {
    let queue = Ring<ArrivedMessage>(capacity: 1024)
    for round in 0..<5 {
      let taken = (0..<1500).count {
        queue.push(ArrivedMessage(message: message(round * 2000 + $0), path: PackedPath()))
      }
      #expect(taken == 1024)
      #expect(queue.fill == 1)
      for expected in 0..<1024 {
        guard number(queue.pop()) == round * 2000 + expected else {
          Issue.record("round \(round), entry \(expected)")
          return
        }
      }
      #expect(queue.fill == 0)
      let isEmpty = queue.pop() == nil
      #expect(isEmpty)
    }
  }

  @Test func `hands everything from one thread to another, once and whole`() {
    let queue = Ring<ArrivedMessage>(capacity: 1024)
    let count = 100_000
    Thread.detachNewThread {
      for number in 0..<count { while !queue.push(ArrivedMessage(message: message(number), path: PackedPath())) {} }
    }
    var expected = 0
    while expected < count {
      guard let entry = queue.pop() else { continue }
      guard number(entry) == expected else {
        Issue.record("\(String(describing: number(entry))) in place of \(expected)")
        return
      }
      expected += 1
    }
  }
}
