import Glibc
import SystemPackage
import WG6Config
import WG6Crypto
import WG6Linux
import WG6Protocol

/// A capture that an interface's daemon makes for this process, for as long as this value lives.
public struct RemoteCapture: ~Copyable {
  private let connection: ControlConnection
  private let memory: SharedMemory
  /// Takes the packets.
  public var reader: CaptureReader

  public init(of interface: String, _ filter: CaptureFilter) throws(RemoteDevice.Failure) {
    var request = WipedBytes()
    filter.writeRequest(to: &request)
    var connection = try RemoteDevice(interface: interface).open(request)
    guard let descriptor = connection.takeAttachment() else { throw RemoteDevice.Failure(errno: EPROTO) }
    let memory = try RemoteCapture.map(descriptor)
    guard let reader = unsafe CaptureReader(memory.bytes) else { throw RemoteDevice.Failure(errno: EPROTO) }
    self.memory = memory
    self.reader = reader
    self.connection = connection
  }

  private static func map(_ descriptor: consuming OwnedDescriptor) throws(RemoteDevice.Failure) -> SharedMemory {
    do {
      return try SharedMemory(takingOver: descriptor, byteCount: CaptureRing.byteCount)
    } catch {
      throw RemoteDevice.Failure(errno: error == .invalidArgument ? EPROTO : error.rawValue)
    }
  }

  /// To wait at: readable once the daemon has ended.
  public var rawValue: Int32 { connection.rawValue }
}

/// The keys of an interface's handshakes, as its daemon tells them while this value lives.
public struct RemoteKeyLog: ~Copyable {
  private var connection: ControlConnection

  public init(of interface: String) throws(RemoteDevice.Failure) {
    var request = WipedBytes()
    request.append(ControlRequest.keyLogText)
    connection = try RemoteDevice(interface: interface).open(request)
  }

  /// To wait at: readable when there are keys, and once the daemon has ended.
  public var rawValue: Int32 { connection.rawValue }

  /// Appends what has come to `text`; returns false once the daemon has ended or has hung up.
  public mutating func read(into text: inout WipedBytes) -> Bool {
    defer { SecretMemory.wipeStack() }
    do {
      try connection.read { line in
        text.append(line)
        text.append(UInt8(ascii: "\n"))
      }
      return true
    } catch {
      return error == .timedOut
    }
  }
}
