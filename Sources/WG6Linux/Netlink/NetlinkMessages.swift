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

  func has<Header: BitwiseCopyable>(_ attribute: Int, behind _: Header.Type) -> Bool {
    unsafe nlmsg_find_attr(message, Int32(MemoryLayout<Header>.size), Int32(attribute)) != nil
  }

  /// An attribute that is an address, behind a `Header`.
  func address<Header: BitwiseCopyable>(_ attribute: Int, behind _: Header.Type) -> IPAddress? {
    guard let found = unsafe nlmsg_find_attr(message, Int32(MemoryLayout<Header>.size), Int32(attribute)) else {
      return nil
    }
    return unsafe IPAddress(networkBytes: UnsafeRawBufferPointer(start: nla_data(found), count: Int(nla_len(found))))
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
