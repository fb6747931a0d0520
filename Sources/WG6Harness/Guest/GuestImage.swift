import Foundation

/// A kernel that has WireGuard and a root file system just large enough to use it: busybox, `wg`, `ip`, `ping`, `iperf3`.
///
/// Built from what Debian has installed, once for each kernel version, and kept in a cache.
struct GuestImage {
  let kernel: String
  let initrd: String

  /// Takes the image from the cache, or builds it.
  static func prepared(by lab: Lab) throws -> GuestImage {
    let version = try kernelVersion()
    let cache = ProcessInfo.processInfo.environment["WG6_CACHE"] ?? "/var/cache/wg6-lab"
    let place = "\(cache)/\(version)-\(formatVersion)"
    let image = GuestImage(kernel: "/boot/vmlinuz-\(version)", initrd: place + "/initrd")
    guard !Files.exists(image.initrd) else { return image }
    lab.say("building the guest's root file system for Linux \(version)")
    try Files.makeDirectory(place)
    // Others may build at the same time: only a finished file gets the name.
    let draft = "\(place)/initrd.\(getpid())"
    try Files.write(try archive(version: version, lab), to: draft)
    guard rename(draft, image.initrd) == 0 else { throw SystemFailure("rename \(draft)") }
    return image
  }

  /// Whether a kernel with a WireGuard module is installed.
  static var isPossible: Bool { (try? kernelVersion()) != nil }

  /// Counted up whenever the contents change, so that old caches are left alone.
  private static let formatVersion = 2

  /// The newest installed kernel that comes with a WireGuard module.
  private static func kernelVersion() throws -> String {
    let versions = Files.names(in: "/lib/modules").filter { version in
      let module = "/lib/modules/\(version)/kernel/drivers/net/wireguard/wireguard.ko"
      return Files.exists("/boot/vmlinuz-\(version)") && ["", ".xz", ".zst"].contains { Files.exists(module + $0) }
    }
    guard let newest = versions.max(by: { $0.compare($1, options: .numeric) == .orderedAscending }) else {
      throw Missing()
    }
    return newest
  }

  struct Missing: Error, CustomStringConvertible {
    var description: String { "no installed kernel has a WireGuard module: apt-get install linux-image-amd64" }
  }

  private static func archive(version: String, _ lab: Lab) throws -> [UInt8] {
    var archive = CPIO()
    var directories: Set<String> = []
    func parents(of path: String) {
      var prefix = ""
      for part in path.split(separator: "/").dropLast() {
        prefix += prefix.isEmpty ? String(part) : "/" + part
        if directories.insert(prefix).inserted { archive.directory(prefix) }
      }
    }
    func add(_ path: String, from source: String) throws {
      parents(of: path)
      guard let data = FileManager.default.contents(atPath: source) else { throw SystemFailure("read \(source)") }
      archive.file(path, [UInt8](data), executable: true)
    }

    for directory in ["bin", "sbin", "proc", "sys", "dev", "etc", "run", "tmp", "mods"] {
      directories.insert(directory)
      archive.directory(directory)
    }
    archive.file("init", Array(initScript.utf8), executable: true)
    try add("bin/busybox", from: Binaries.path(of: "busybox"))

    var libraries: Set<String> = []
    // busybox's own shell would prefer its applets (`ip`, `ping`) to the real ones: so the shell is Debian's as well.
    for (tool, name) in [("wg", "wg"), ("ip", "ip"), ("ping", "ping"), ("iperf3", "iperf3"), ("dash", "sh")] {
      let path = try Binaries.path(of: tool)
      try add("bin/\(name)", from: path)
      let words = try lab.command("ldd", path).split(whereSeparator: \.isWhitespace)
      libraries.formUnion(words.filter { $0.hasPrefix("/") }.map(String.init))
    }
    for library in libraries.sorted() { try add(String(library.dropFirst()), from: library) }

    for (number, module) in try modules(version: version, lab).enumerated() {
      let source = try unpacked(module, lab)
      let name = String(format: "%02d-", number) + (source as NSString).lastPathComponent
      try add("mods/\(name)", from: source)
    }
    archive.finish()
    return archive.bytes
  }

  /// The module files that WireGuard and a virtio network card need, in the order in which they load.
  private static func modules(version: String, _ lab: Lab) throws -> [String] {
    var files: [String] = []
    for module in ["virtio_pci", "virtio_net", "wireguard"] {
      let steps = try lab.command("modprobe", "-S", version, "--show-depends", module)
      for step in steps.split(whereSeparator: \.isNewline) {
        let words = step.split(separator: " ").map(String.init)
        if words.first == "insmod", words.count > 1, !files.contains(words[1]) { files.append(words[1]) }
      }
    }
    return files
  }

  /// A module's path, after unpacking it when the distribution compresses its modules.
  private static func unpacked(_ module: String, _ lab: Lab) throws -> String {
    let tools = ["xz": "xz", "zst": "zstd"]
    guard let tool = tools[(module as NSString).pathExtension] else { return module }
    let target = lab.directory + "/" + ((module as NSString).deletingPathExtension as NSString).lastPathComponent
    try lab.command("sh", "-c", "\(tool) -dc '\(module)' >'\(target)'")
    return target
  }

  /// The guest's first process. Reads commands from the second serial port: one line is one script in base64; the answer
  /// is one line as well, status, output and complaints, the latter two in base64.
  private static let initScript = """
    #!/bin/sh
    for tool in $(/bin/busybox --list); do [ -e /bin/$tool ] || /bin/busybox ln -s busybox /bin/$tool; done
    export PATH=/bin:/sbin HOME=/tmp
    mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mkdir -p /dev/shm
    ln -s /proc/self/fd/0 /dev/stdin 2>/dev/null
    for module in /mods/*; do insmod $module || echo "insmod $module failed"; done
    ip link set lo up; ip link set eth0 up
    stty -F /dev/ttyS1 raw -echo 115200
    exec 3<>/dev/ttyS1
    echo READY >&3
    while read -r line <&3; do
      echo "$line" | base64 -d >/tmp/script
      sh /tmp/script >/tmp/out 2>/tmp/err 3>&- </dev/null
      status=$?
      echo "$status,$(base64 -w 0 /tmp/out),$(base64 -w 0 /tmp/err)" >&3
    done

    """
}
