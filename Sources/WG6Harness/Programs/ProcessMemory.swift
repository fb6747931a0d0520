import Foundation

/// All that a running program has in its memory, as root can read it.
struct ProcessMemory {
  let pid: pid_t
  let mappings: [Mapping]
  /// What was in each mapping, where it was copied.
  private var copy: [(mapping: Mapping, bytes: Data)]?

  /// A row of pages, and what the kernel is told to do with them.
  struct Mapping {
    let range: Range<UInt>
    let isReadable: Bool
    /// The file, or what the kernel calls it; empty for memory without a name.
    let name: String
    /// Two letters each, see proc_pid_smaps(5): `lo` is locked, `dd` left out of core dumps.
    let flags: Set<Substring>

    /// Neither swapped out nor in a core dump.
    var isKept: Bool { flags.contains("lo") && flags.contains("dd") }
  }

  /// A place where something was found.
  struct Find: CustomStringConvertible {
    let address: UInt
    let mapping: Mapping
    var description: String {
      "\(String(address, radix: 16)) in \(mapping.name.isEmpty ? "memory" : mapping.name) (\(mapping.flags.sorted()))"
    }
  }

  init(of pid: pid_t) {
    self.pid = pid
    var mappings: [Mapping] = []
    var header: (range: Range<UInt>, isReadable: Bool, name: String)?
    for line in Files.text("/proc/\(pid)/smaps").split(separator: "\n") {
      let words = line.split(separator: " ", omittingEmptySubsequences: true)
      let ends = words[0].split(separator: "-").compactMap { UInt($0, radix: 16) }
      if ends.count == 2, words.count >= 5 {
        header = (ends[0]..<ends[1], words[1].hasPrefix("r"), words.dropFirst(5).joined(separator: " "))
      } else if words[0] == "VmFlags:", let (range, isReadable, name) = header {
        mappings.append(Mapping(range: range, isReadable: isReadable, name: name, flags: Set(words.dropFirst())))
      }
    }
    self.mappings = mappings
  }

  /// The same, with all that is in it now, to be searched for what is found out later.
  func copied() throws -> ProcessMemory {
    var whole = self
    var copy: [(mapping: Mapping, bytes: Data)] = []
    try read { mapping, _, bytes in copy.append((mapping, bytes)) }
    whole.copy = copy
    return whole
  }

  /// Where any of `needles` is.
  func find(_ needles: [Data]) throws -> [Find] {
    var finds: [Find] = []
    try read { mapping, address, bytes in
      for needle in needles {
        var rest = bytes.startIndex..<bytes.endIndex
        while let place = bytes.range(of: needle, in: rest) {
          finds.append(Find(address: address + UInt(place.lowerBound), mapping: mapping))
          rest = place.lowerBound + 1..<bytes.endIndex
        }
      }
    }
    return finds
  }

  /// The 32-byte slots of locked memory that are not zero.
  func keptSlots() throws -> Set<Data> {
    var slots: Set<Data> = []
    try read { mapping, _, bytes in
      guard mapping.isKept else { return }
      for start in stride(from: 0, to: bytes.count - 31, by: 32) {
        let slot = Data(bytes[start..<start + 32])
        if slot.contains(where: { $0 != 0 }) { slots.insert(slot) }
      }
    }
    return slots
  }

  /// Hands over every mapping whole, where it is not absurdly large.
  private func read(_ body: (Mapping, UInt, Data) -> Void) throws {
    if let copy { return copy.forEach { body($0.mapping, $0.mapping.range.lowerBound, $0.bytes) } }
    let descriptor = open("/proc/\(pid)/mem", O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw SystemFailure("read the memory of \(pid)") }
    defer { close(descriptor) }
    for mapping in mappings where mapping.isReadable {
      guard mapping.range.count <= 256 << 20 else {
        throw Disproved(claim: "a mapping of \(pid) is of a size to be read", detail: mapping.name)
      }
      var bytes = Data(count: mapping.range.count)
      let count = bytes.withUnsafeMutableBytes {
        pread(descriptor, $0.baseAddress, $0.count, off_t(Int(bitPattern: mapping.range.lowerBound)))
      }
      // The kernel's own pages ([vvar]) can't be read by anyone.
      if count > 0 { body(mapping, mapping.range.lowerBound, bytes.prefix(count)) }
    }
  }
}
