/// Something that bytes from outside can be thrown at, and what must hold whatever they are.
struct FuzzTarget: Sendable {
  let name: String
  /// Plays one input; ends the process where a claim fails.
  let play: @Sendable (FuzzedBytes) -> Void

  init(_ name: String, _ play: @escaping @Sendable (FuzzedBytes) -> Void) {
    self.name = name
    self.play = play
  }

  static let all: [FuzzTarget] = [message, control, config, packet, offload, addresses, keys, allowedIPs, capture]
}

/// Ends the process where `holds` is false; libFuzzer then keeps the input.
func claim(_ holds: Bool, _ what: @autoclosure () -> String) {
  if !holds { fatalError("does not hold: \(what())") }
}
