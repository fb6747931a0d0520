import ArgumentParser
import Glibc
import WG6Config
import WG6Crypto
import WG6Protocol

/// The words of `set`, read into a change of the device.
struct SetArguments {
  private(set) var update = DeviceUpdate()
  private var words: ArraySlice<String>
  /// What was said of the device, or of the peer that is being read.
  private var seen: Swift.Set<String> = []

  init(_ words: ArraySlice<String>) throws {
    self.words = words
    while let word = self.words.popFirst() { try read(word) }
  }

  private mutating func read(_ word: String) throws {
    noteRepetition(of: word)
    let isPeer = !update.peers.isEmpty
    let last = update.peers.count - 1
    switch word {
    case "remove" where isPeer: update.peers[last].removes = true
    case "listen-port" where !isPeer && !words.isEmpty: update.listenPort = try value(ValueText.port)
    case "fwmark" where !isPeer && !words.isEmpty: update.firewallMark = try value(ValueText.firewallMark)
    case "private-key" where !isPeer && !words.isEmpty:
      update.privateKey = try KeyFile.read(words.removeFirst()) { KeyChange<PrivateKey>(base64: $0) }
    case "peer" where !words.isEmpty: update.peers.append(PeerUpdate(try PeerWord.key(words.removeFirst())))
    case "endpoint" where isPeer && !words.isEmpty:
      let name = try value(EndpointName.init(_:))
      update.peers[last].endpoint = try Resolution.endpoint(of: name)
    case "persistent-keepalive" where isPeer && !words.isEmpty:
      update.peers[last].persistentKeepalive = try value(ValueText.persistentKeepalive)
    case "preshared-key" where isPeer && !words.isEmpty:
      update.peers[last].presharedKey = try KeyFile.read(words.removeFirst()) { KeyChange<PresharedKey>(base64: $0) }
    case "allowed-ips" where isPeer && !words.isEmpty:
      words[words.startIndex].removeAll { $0.isWhitespace }
      let list = try value(AllowedIPList.init(_:))
      for text in list.withHostBits { warn("AllowedIP has nonzero host part: \(text)") }
      update.peers[last].replacesAllowedIPs = list.replaces
      update.peers[last].allowedIPs += list.changes
    default:
      // A word of `set` in a place where it can't stand is not misspelled.
      let near = SetWords.all.contains(word) ? "" : Suggestion.text(for: word, among: SetWords.all)
      throw failure("Invalid argument: \(word)\(near.isEmpty ? "" : ".\(near)")")
    }
  }

  /// The last of several counts, as in `wg`; a person should hear of it, and of what is lost on a peer that goes.
  private mutating func noteRepetition(of word: String) {
    if word == "peer" {
      seen = []
    } else if word != "allowed-ips", !seen.insert(word).inserted {
      warn("\(word) again; the last one counts")
    }
    if seen.contains("remove"), seen.count > 1 {
      warn("\(word) and remove for one peer; it is removed")
    }
  }

  /// The next word, read by `body`.
  private mutating func value<Value>(_ body: (RawSpan) throws(ValueMistake) -> Value) throws -> Value {
    let bytes = Array(words.removeFirst().utf8)
    do {
      return unsafe try body(bytes.span.bytes)
    } catch {
      throw failure(error.wgMessage)
    }
  }
}

/// Looking up endpoints as `wg` does.
enum Resolution {
  static func retries() throws -> Int? {
    do {
      return try EndpointName.retries(environment: environment("WG_ENDPOINT_RESOLUTION_RETRIES"))
    } catch {
      throw failure(error.wgMessage)
    }
  }

  static func endpoint(of name: EndpointName) throws -> Endpoint {
    let retries = try retries()
    do {
      return try name.resolve(retries: retries, waiting: announce)
    } catch {
      throw failure(error.description)
    }
  }

  static func announce(_ failure: ResolutionFailure, _ microseconds: UInt32) {
    let hundredths = (microseconds + 5000) / 10000
    let fraction = hundredths % 100
    complain("wg6: \(failure). Trying again in \(hundredths / 100).\(fraction < 10 ? "0" : "")\(fraction) seconds...")
  }
}

/// A key in a file: 44 characters and white space behind them. An empty file stands for no key.
enum KeyFile {
  @inline(never)
  static func read<Key>(_ path: String, _ decode: (RawSpan) -> KeyChange<Key>?) throws -> KeyChange<Key> {
    let text: WipedBytes
    do {
      text = try WipedBytes(contentsOf: path)
    } catch {
      throw failure(error)
    }
    if text.isEmpty { return .remove }
    guard text.count >= KeyBase64.encodedLength else { throw failure("Invalid length key in key file") }
    guard text.isBlank(from: KeyBase64.encodedLength) else { throw failure("Found trailing character in key file") }
    // Other than `wg`, this does not print the text: it may be a private key with a slip in it.
    guard let key = text.withBytes({ decode($0.extracting(0..<KeyBase64.encodedLength)) }) else {
      throw failure("Key is not the correct length or format")
    }
    return key
  }
}
