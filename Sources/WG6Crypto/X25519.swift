import CSodium

/// Curve25519 Diffie–Hellman (RFC 7748), libsodium's.
package enum X25519 {
  /// The public key of a clamped private key.
  package static func publicKey(of privateKey: borrowing Secret) -> PublicKey {
    var bytes = InlineArray<32, UInt8>(repeating: 0)
    var mutable = bytes.mutableSpan
    unsafe mutable.withUnsafeMutableBufferPointer { out in
      _ = unsafe crypto_scalarmult_curve25519_base(
        out.baseAddress!, privateKey.storage.assumingMemoryBound(to: UInt8.self))
    }
    return PublicKey(bytes)
  }

  /// The shared secret, or `nil` where it is all zero: the other side's key is of low order (RFC 7748 §6.1).
  package static func sharedSecret(_ privateKey: borrowing Secret, _ publicKey: PublicKey) -> Secret? {
    let result = Secret()
    let status = unsafe publicKey.bytes.span.withUnsafeBufferPointer { point in
      unsafe crypto_scalarmult_curve25519(
        result.storage.assumingMemoryBound(to: UInt8.self), privateKey.storage.assumingMemoryBound(to: UInt8.self),
        point.baseAddress!)
    }
    // libsodium reports the all-zero result itself; the second look keeps this true whatever library stands behind.
    guard status == 0, !result.isZero else { return nil }
    return result
  }
}
