import Glibc
import SystemPackage

/// Programs of the system, run to their end without a shell.
public enum Program {
  /// Where `PATH` says that programs are, and then where administrators' are, which `PATH` may lack.
  public static var searchPath: String {
    let own = unsafe getenv("PATH").map { unsafe String(cString: $0) } ?? "/usr/bin:/bin"
    return own + ":/usr/local/sbin:/usr/sbin:/sbin"
  }

  /// The path of the program called `name`; `nil` where there is none.
  public static func locate(_ name: String, in searchPath: String = Program.searchPath) -> String? {
    searchPath.split(separator: ":").map { "\($0)/\(name)" }.first(where: isExecutable)
  }

  /// Whether there is a file at `path` that this process may run.
  public static func isExecutable(_ path: String) -> Bool {
    var status = stat()
    return unsafe stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG && access(path, X_OK) == 0
  }

  /// Runs the program at `path`, with `input` to read, and waits until it ends. Returns how, and what it wrote to
  /// its standard output and errors, up to `most` bytes. Throws where it can't be started.
  public static func run(
    _ path: String, _ arguments: [String], input: String = "", most: Int = 16_384
  ) throws(Errno) -> (ending: Child.Ending, output: String) {
    // Files and not pipes: neither side ever waits for the other to read.
    let given = try OwnedDescriptor(text: input)
    let written = try OwnedDescriptor(text: "")
    let child = try Child(path, arguments, input: given.rawValue, output: written.rawValue)
    return (try child.wait(), written.text(most: most))
  }
}
