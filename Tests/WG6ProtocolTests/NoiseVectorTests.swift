import TestVectors
import Testing

@testable import WG6Crypto
@testable import WG6Protocol

/// The published Noise vectors, run through the handshake engine that the tunnel uses.
@Suite(.enabled(if: Vectors.present, Comment(rawValue: Vectors.absence)))
struct `Noise IKpsk2 vectors` {
  struct File: Decodable {
    let vectors: [Vector]
  }

  struct Vector: Decodable {
    let protocolName: String
    let initPrologue: String
    let initStatic: String
    let initEphemeral: String
    let initPsks: [String]?
    let initRemoteStatic: String
    let respStatic: String
    let respEphemeral: String
    let respPsks: [String]?
    let handshakeHash: String?
    let messages: [Message]
  }

  struct Message: Decodable {
    let payload: String
    let ciphertext: String
  }

  @Test func `both ends write and read every message as published`() throws {
    let vectors = try Vectors.load("noise-ik.json", as: File.self).vectors
      .filter { $0.protocolName == "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s" }
    #expect(vectors.count >= 1)
    for vector in vectors { try check(vector) }
    print("ran \(vectors.count) IKpsk2 vectors")
  }

  private func check(_ vector: Vector) throws {
    let prologue = bytes(hex: vector.initPrologue)
    let presharedKey = bytes(hex: try #require(vector.initPsks?.first))
    let initiatorStatic = PrivateKey(hex: vector.initStatic), responderStatic = PrivateKey(hex: vector.respStatic)
    let responderPublic = PublicKey(hex: vector.initRemoteStatic)
    #expect(responderStatic.publicKey == responderPublic)
    let start = NoiseIK.start(responder: responderPublic, prologue: prologue.span.bytes)

    // -> e, es, s, ss
    let first = vector.messages[0], firstPayload = bytes(hex: first.payload)
    var initiator: NoiseIK.Initiator?
    let firstMessage = written(NoiseIK.initiationOverhead + firstPayload.count) { out in
      initiator = NoiseIK.Initiator(
        from: start, staticKey: initiatorStatic, staticPublicKey: initiatorStatic.publicKey,
        staticStatic: X25519.sharedSecret(initiatorStatic.secret, responderPublic)!, responder: responderPublic,
        ephemeral: Secret(copying: bytes(hex: vector.initEphemeral).span.bytes), payload: firstPayload.span.bytes,
        writing: out)
    }
    #expect(hex(firstMessage) == first.ciphertext)

    var introduction = NoiseIK.Introduction(firstMessage.span.bytes, from: start, staticKey: responderStatic)
    let claimed = introduction?.remoteStatic
    #expect(claimed == initiatorStatic.publicKey)
    var responder: NoiseIK.Responder?
    let readFirst = written(firstPayload.count) { out in
      responder = introduction.take()?.read(
        firstMessage.span.bytes,
        staticStatic: X25519.sharedSecret(responderStatic.secret, initiatorStatic.publicKey)!, payload: out)
    }
    #expect(readFirst == firstPayload)

    // <- e, ee, se, psk
    let second = vector.messages[1], secondPayload = bytes(hex: second.payload)
    var responderKeys: NoiseIK.TransportKeys?
    let secondMessage = written(NoiseIK.responseOverhead + secondPayload.count) { out in
      responderKeys = responder.take()?.respond(
        ephemeral: Secret(copying: bytes(hex: vector.respEphemeral).span.bytes),
        presharedKey: presharedKey.span.bytes, payload: secondPayload.span.bytes, writing: out)
    }
    #expect(hex(secondMessage) == second.ciphertext)
    var initiatorKeys: NoiseIK.TransportKeys?
    let readSecond = written(secondPayload.count) { out in
      initiatorKeys = initiator.take()?.finish(
        secondMessage.span.bytes, presharedKey: presharedKey.span.bytes, payload: out)
    }
    #expect(readSecond == secondPayload)
    let hashes = [responderKeys?.handshakeHash, initiatorKeys?.handshakeHash].map { $0.map { hex($0) } }
    if let expected = vector.handshakeHash { #expect(hashes == [expected, expected]) }

    let initiatorEnd = initiatorKeys.take()!, responderEnd = responderKeys.take()!
    // Transport messages, in turn from each end.
    var initiatorCounter: UInt64 = 0, responderCounter: UInt64 = 0
    for (index, message) in vector.messages.enumerated().dropFirst(2) {
      let fromInitiator = index % 2 == 0
      let counter = fromInitiator ? initiatorCounter : responderCounter
      let payload = bytes(hex: message.payload)
      let sealed = written(payload.count + ChaCha20Poly1305.tagLength) { out in
        if fromInitiator {
          ChaCha20Poly1305.seal(
            payload.span.bytes, into: out, counter: counter, key: initiatorEnd.sending,
            authenticating: [UInt8]().span.bytes)
        } else {
          ChaCha20Poly1305.seal(
            payload.span.bytes, into: out, counter: counter, key: responderEnd.sending,
            authenticating: [UInt8]().span.bytes)
        }
      }
      #expect(hex(sealed) == message.ciphertext, "transport message \(index)")
      if fromInitiator { initiatorCounter += 1 } else { responderCounter += 1 }
    }
    let agree = (initiatorEnd.sending == responderEnd.receiving, initiatorEnd.receiving == responderEnd.sending)
    #expect(agree == (true, true))
  }
}

/// `count` bytes that `fill` writes.
func written(_ count: Int, _ fill: (UnsafeMutableRawPointer) -> Void) -> [UInt8] {
  let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: max(count, 1), alignment: 16)
  defer { buffer.deallocate() }
  fill(buffer.baseAddress!)
  return Array(buffer.prefix(count))
}
