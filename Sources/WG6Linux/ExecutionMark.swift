/// The packet marks of programs that `wg6 exec` runs. Each is the number of a routing table as well.
///
/// They follow from the interface's name alone: a kill switch knows them before there is an interface, and what was made
/// under them is found again without a note of it. The topmost bit keeps them away from numbers that people choose.
public enum ExecutionMark {
  /// Of programs that may use nothing but the tunnel.
  public static func inside(of interface: String) -> UInt32 { hash(of: interface) & ~1 }

  /// Of programs that bypass the tunnel, and its kill switch.
  public static func outside(of interface: String) -> UInt32 { hash(of: interface) | 1 }

  public static let lowest: UInt32 = 0x8000_0000

  /// FNV-1a.
  private static func hash(of name: String) -> UInt32 {
    name.utf8.reduce(0x811C_9DC5) { ($0 ^ UInt32($1)) &* 0x0100_0193 } | lowest
  }
}
