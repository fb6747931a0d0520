import BrokenFiles
import Testing
import WG6Crypto
import WG6Protocol

@testable import WG6Config

@Suite struct `Broken configuration files` {
  @Test func `there are at least 200, each another one`() {
    let repeated = Dictionary(grouping: BrokenFile.all) { "\($0.dialect)\($0.text)" }.filter { $0.value.count > 1 }
    #expect(repeated.keys.sorted() == [])
    #expect(BrokenFile.all.count >= 200)
    print("broken configuration files: \(BrokenFile.all.count)")
  }

  @Test func `each is refused with the file, the line, and what was read`() {
    for broken in BrokenFile.all {
      do {
        _ = try configuration(broken.text, broken.dialect)
        Issue.record("accepted: \(broken.text)")
      } catch {
        let first = error.mistakes[0]
        #expect(error.description.hasPrefix("test.conf:\(broken.line): read "), "\(error) for\n\(broken.text)")
        #expect(first.message.contains(broken.mention), "\(error) for\n\(broken.text)")
        #expect(first.message.contains(", expected "), "\(error)")
        if let secret = broken.secret { #expect(!error.description.contains(secret), "\(error)") }
        #expect(!error.description.contains(BrokenFile.privateKey.dropLast(4)), "\(error)")
      }
    }
  }
}

/// Reads a file whose address book knows `@laptop` alone.
func configuration(_ text: String, _ dialect: ConfigurationDialect = .quick) throws(FileMistakes) -> ConfigurationFile {
  let bytes = Array(text.utf8)
  return try ConfigurationFile(reading: bytes.span.bytes, named: "test.conf", dialect: dialect) {
    () throws(FileMistakes) in
    let book = Array("laptop TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0= Anna's".utf8)
    return try AddressBook(reading: book.span.bytes, named: "keys")
  }
}
