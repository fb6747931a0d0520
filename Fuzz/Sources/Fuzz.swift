import CLibFuzzer
import Glibc
import WG6Crypto

/// `wg6-fuzz TARGET [libFuzzer's arguments]`, `wg6-fuzz --seeds DIRECTORY`.
@main
enum Fuzz {
  /// libFuzzer starts itself again for some of its work, with its own arguments only: the target goes along in here.
  private static let variable = "WG6_FUZZ_TARGET"
  nonisolated(unsafe) private static var chosen = FuzzTarget.all[0]

  static func main() {
    let arguments = Array(CommandLine.arguments.dropFirst())
    var rest = arguments
    var name = getenv(variable).map { String(cString: $0) }
    if name == nil, let first = arguments.first {
      name = first
      rest.removeFirst()
    }
    switch name {
    case "--seeds":
      do { try Seeds.write(under: rest.first ?? "Fuzz/Corpus") } catch { print(error); exit(1) }
    default:
      guard let target = FuzzTarget.all.first(where: { $0.name == name }) else {
        print("usage: wg6-fuzz TARGET [OPTION…] [DIRECTORY…], TARGET one of:")
        FuzzTarget.all.forEach { print("  \($0.name)") }
        exit(64)
      }
      setenv(variable, target.name, 1)
      chosen = target
      start(rest)
    }
  }

  private static func start(_ arguments: [String]) {
    precondition(prepareCryptography())
    let all = [CommandLine.arguments[0]] + arguments
    var count = CInt(all.count)
    // libFuzzer keeps the strings for as long as the process lives.
    let copies = UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>.allocate(capacity: all.count + 1)
    for (index, argument) in all.enumerated() { copies[index] = strdup(argument) }
    copies[all.count] = nil
    var values: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? = copies
    exit(
      LLVMFuzzerRunDriver(&count, &values) { start, count in
        Fuzz.chosen.play(FuzzedBytes(UnsafeRawBufferPointer(start: start, count: count)))
        return 0
      })
  }
}
