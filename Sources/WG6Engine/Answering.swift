import Glibc
import Logging
import SystemPackage
import WG6Config
import WG6Crypto
import WG6Linux
import WG6Protocol

/// Requests of the control socket: each is answered whole before the next is looked at.
extension Engine {
  func answer(_ request: ControlRequest, of caller: ControlCaller, into text: inout WipedBytes) {
    switch request {
    case .get:
      var status = device.status()
      status.listenPort = port
      status.firewallMark = mark
      status.unlockedKeyBytes = UInt64(SecretMemory.unlockedByteCount)
      status.writeAnswer(to: &text)
    case .drops:
      device.dropStatus().writeDropsAnswer(to: &text)
    case .capture(let filter):
      ControlAnswer.write(errno: capture(filter, for: caller), to: &text)
    case .keyLog:
      keepKeyLog(for: caller, into: &text)
    case .invalid(let error):
      log.error("control request refused, \(error.message)")
      ControlAnswer.write(errno: error.errno, to: &text)
    case .set(let update):
      ControlAnswer.write(errno: apply(update), to: &text)
      perform()
    }
  }

  /// Starts a capture for a client; returns 0 or an errno.
  private func capture(_ filter: CaptureFilter, for caller: ControlCaller) -> Int32 {
    guard caller.isTrusted else { return EPERM }
    guard caller.capture == nil else { return EALREADY }
    do throws(Errno) {
      caller.capture = try CaptureSession(of: device, filter)
    } catch {
      log.error("cannot start a capture: \(error)")
      return error.rawValue
    }
    return 0
  }

  /// Answers with the keys that are there already, and has those that come written behind them.
  private func keepKeyLog(for caller: ControlCaller, into text: inout WipedBytes) {
    guard caller.isTrusted else { return ControlAnswer.write(errno: EPERM, to: &text) }
    ControlAnswer.write(errno: 0, to: &text)
    guard !caller.keepsKeyLog else { return }
    log.notice("a key log was asked for: whoever has it can read what this tunnel carries")
    caller.keepsKeyLog = true
    device.startKeyLog()
    device.writeKnownKeys(to: &text)
  }

  /// Hands what handshakes have added to the key log to the clients that keep one.
  func passOnKeyLog() {
    guard device.hasKeyLog else { return }
    if !server.hasKeyLogs { return device.endKeyLog() }
    device.takeKeyLog { server.writeToKeyLogs($0, poller) { Engine.clientToken($0) } }
  }

  /// Makes the changes of `update`, all or none; returns 0 or an errno.
  private func apply(_ update: DeviceUpdate) -> Int32 {
    if device.contradictsKeys(update) {
      log.error("control request refused: an allowed IP is the address of another peer by its key (LinkLocal, ula:)")
      return EADDRNOTAVAIL
    }
    // Of what follows only the sockets can fail: they come first.
    let oldMark = mark
    mark = update.firewallMark ?? mark
    if let wanted = update.listenPort, wanted != port || wanted == 0 {
      do throws(Errno) {
        try listen(on: wanted)
      } catch {
        mark = oldMark
        log.error("cannot listen on UDP port \(wanted): \(error)")
        return error.rawValue
      }
    }
    if mark != oldMark { wires.sockets.setMark(mark) }
    device.apply(update, now: Clock.now)
    followSilence()
    if update.firewallMark != nil || update.peers.contains(where: { $0.endpoint != nil }) {
      routes.configurationChanged()
    }
    return 0
  }

  /// A port that is asked for by number is bound at once, so that whoever asks learns whether it can be had; any port
  /// will do when the interface comes up.
  private func listen(on wanted: UInt16) throws(Errno) {
    if wanted != 0 || isBound {
      try bind(wanted)
    } else {
      port = 0
    }
  }
}
