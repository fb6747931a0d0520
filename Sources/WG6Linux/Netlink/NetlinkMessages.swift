import CNetlink
import WG6Protocol

/// A request to the kernel that libnl-route-3 has no words for, put together attribute by attribute.
@safe struct NetlinkRequest: ~Copyable {
  // SAFETY: one reference, dropped in deinit.
  let message: OpaquePointer

  /// - Parameter header: the structure that requests of this type begin with.
  init<Header: BitwiseCopyable>(_ type: Int, flags: Int32 = 0, _ header: Header, for operation: String)
    throws(NetlinkError)
  {
    guard let message = unsafe nlmsg_alloc_simple(Int32(type), flags) else { throw NetlinkError(NLE_NOMEM, operation) }
    var header = header
    let result = unsafe nlmsg_append(message, &header, MemoryLayout<Header>.size, Int32(NLMSG_ALIGNTO))
    guard result == 0 else {
      unsafe nlmsg_free(message)
      throw NetlinkError(result, operation)
    }
    unsafe self.message = message
  }

  deinit {
    unsafe nlmsg_free(message)
  }

  // A message has room for a page: what is put here always fits.

  func put(_ number: UInt32, as attribute: Int) {
    _ = unsafe nla_put_u32(message, Int32(attribute), number)
  }

  func put(byte: UInt8, as attribute: Int) {
    _ = unsafe nla_put_u8(message, Int32(attribute), byte)
  }

  /// Two bytes in network order.
  func put(networkOrder number: UInt16, as attribute: Int) {
    _ = unsafe nla_put_u16(message, Int32(attribute), number.bigEndian)
  }

  /// Puts what `body` puts into one attribute.
  func nest(_ attribute: Int, _ body: (borrowing NetlinkRequest) -> Void) {
    let start = unsafe nla_nest_start(message, Int32(attribute))
    body(self)
    _ = unsafe nla_nest_end(message, start)
  }

  func put(_ address: AddressBits, isIPv6: Bool, as attribute: Int) {
    var bytes: InlineArray<2, UInt64> = [address.high.bigEndian, address.low.bigEndian]
    _ = unsafe nla_put(message, Int32(attribute), isIPv6 ? 16 : 4, &bytes)
  }
}

/// One message of the kernel's answer.
@safe struct NetlinkAnswer {
  // SAFETY: libnl's, and only lent to whoever looks at the answer; nobody keeps one.
  let message: UnsafeMutablePointer<nlmsghdr>

  /// The structure that the message begins with; `nil` where it is shorter than that.
  func header<Header: BitwiseCopyable>(_: Header.Type) -> Header? {
    guard unsafe Int(nlmsg_datalen(message)) >= MemoryLayout<Header>.size else { return nil }
    return unsafe UnsafeRawPointer(nlmsg_data(message)).loadUnaligned(as: Header.self)
  }

  /// An attribute of four bytes, behind a `Header`.
  func number<Header: BitwiseCopyable>(_ attribute: Int, behind _: Header.Type) -> UInt32? {
    guard let found = unsafe nlmsg_find_attr(message, Int32(MemoryLayout<Header>.size), Int32(attribute)),
      unsafe nla_len(found) >= 4
    else { return nil }
    return unsafe nla_get_u32(found)
  }

  /// An attribute of one byte, behind a `Header`.
  func byte<Header: BitwiseCopyable>(_ attribute: Int, behind _: Header.Type) -> UInt8? {
    guard let found = unsafe nlmsg_find_attr(message, Int32(MemoryLayout<Header>.size), Int32(attribute)),
      unsafe nla_len(found) >= 1
    else { return nil }
    return unsafe nla_get_u8(found)
  }

  /// The four bytes at `offset` of an attribute, behind a `Header`.
  func number<Header: BitwiseCopyable>(_ attribute: Int, at offset: Int, behind _: Header.Type) -> UInt32? {
    guard let found = unsafe nlmsg_find_attr(message, Int32(MemoryLayout<Header>.size), Int32(attribute)),
      unsafe Int(nla_len(found)) >= offset + 4
    else { return nil }
    return unsafe UnsafeRawPointer(nla_data(found)).loadUnaligned(fromByteOffset: offset, as: UInt32.self)
  }

  func has<Header: BitwiseCopyable>(_ attribute: Int, behind _: Header.Type) -> Bool {
    unsafe nlmsg_find_attr(message, Int32(MemoryLayout<Header>.size), Int32(attribute)) != nil
  }

  /// An address that is an attribute of an attribute, behind a `Header`.
  func address<Header: BitwiseCopyable>(_ path: [Int], behind _: Header.Type) -> IPAddress? {
    guard let outermost = path.first,
      var found = unsafe nlmsg_find_attr(message, Int32(MemoryLayout<Header>.size), Int32(outermost))
    else { return nil }
    for attribute in path.dropFirst() {
      guard
        let inner = unsafe nla_find(
          nla_data(found).assumingMemoryBound(to: nlattr.self), nla_len(found), Int32(attribute))
      else { return nil }
      unsafe found = inner
    }
    return unsafe IPAddress(networkBytes: UnsafeRawBufferPointer(start: nla_data(found), count: Int(nla_len(found))))
  }

  /// An attribute that is an address, behind a `Header`.
  func address<Header: BitwiseCopyable>(_ attribute: Int, behind _: Header.Type) -> IPAddress? {
    guard let found = unsafe nlmsg_find_attr(message, Int32(MemoryLayout<Header>.size), Int32(attribute)) else {
      return nil
    }
    return unsafe IPAddress(networkBytes: UnsafeRawBufferPointer(start: nla_data(found), count: Int(nla_len(found))))
  }
}

extension NetlinkSocket {
  /// Sends `request` and hands `body` what the kernel answers with: one message, or none and an error. Returns libnl's
  /// result.
  func ask(_ request: borrowing NetlinkRequest, _ body: (NetlinkAnswer) -> Void) -> Int32 {
    guard unsafe nl_send_auto(socket, request.message) >= 0, let callbacks = unsafe nl_cb_alloc(NL_CB_DEFAULT) else {
      return -NLE_FAILURE
    }
    defer { unsafe nl_cb_put(callbacks) }
    return withoutActuallyEscaping(body) { body in
      let listener = Listener(body)
      unsafe nl_cb_set(
        callbacks, NL_CB_VALID, NL_CB_CUSTOM,
        { message, listener in
          guard let header = unsafe nlmsg_hdr(message) else { return Int32(NL_SKIP.rawValue) }
          let listener = unsafe Unmanaged<Listener>.fromOpaque(listener!).takeUnretainedValue()
          unsafe listener.body(NetlinkAnswer(message: header))
          // ctnetlink calls its single answer a part of several, and the last part never comes.
          return Int32(NL_STOP.rawValue)
        }, Unmanaged.passUnretained(listener).toOpaque())
      return withExtendedLifetime(listener) {
        // Either an error, or an answer and then an acknowledgement.
        let result = unsafe nl_recvmsgs(socket, callbacks)
        return unsafe result < 0 ? result : nl_wait_for_ack(socket)
      }
    }
  }

  private final class Listener {
    let body: (NetlinkAnswer) -> Void

    init(_ body: @escaping (NetlinkAnswer) -> Void) { self.body = body }
  }
}

extension IPAddress {
  /// An address as it stands in a packet or a message; `nil` unless there are 4 or 16 bytes.
  init?(networkBytes bytes: UnsafeRawBufferPointer) {
    switch bytes.count {
    case 4: self = unsafe .v4(UInt32(bigEndian: bytes.loadUnaligned(as: UInt32.self)))
    case 16:
      self = unsafe .v6(
        high: UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self)),
        low: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)))
    default: return nil
    }
  }
}
