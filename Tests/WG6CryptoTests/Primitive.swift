import CSodium

/// ChaCha20-Poly1305 with a nonce that WireGuard never forms, straight from the library we stand on.
enum Primitive {
  static func open(_ box: [UInt8], nonce: [UInt8], key: [UInt8], data: [UInt8]) -> [UInt8]? {
    var text = [UInt8](repeating: 0, count: max(box.count - 16, 0) + 1)
    var count: UInt64 = 0
    let status = crypto_aead_chacha20poly1305_ietf_decrypt(
      &text, &count, nil, box, UInt64(box.count), data, UInt64(data.count), nonce, key)
    return status == 0 ? Array(text.prefix(Int(count))) : nil
  }
}
