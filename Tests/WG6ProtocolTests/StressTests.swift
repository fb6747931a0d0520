import Foundation
import Synchronization
import Testing
import WG6Crypto
import WG6Simulation

@testable import WG6Protocol

/// Two devices at full speed on five threads, while the control path turns everything over. Worth most under
/// `--sanitize=thread` and `--sanitize=address`.
@Suite(.serialized) struct `Threads under reconfiguration` {
  private static var duration: Double {
    ProcessInfo.processInfo.environment["WG6_STRESS_SECONDS"].flatMap(Double.init) ?? 1
  }

  /// A queue between threads: bounded, what does not fit is lost, as on a network.
  ///
  /// Under a lock of Foundation's, which the thread sanitizer knows; it can't see into `Mutex`.
  private final class Line: @unchecked Sendable {
    private let lock = NSLock()
    private var datagrams: [[UInt8]] = []

    func put(_ bytes: [UInt8]) {
      lock.withLock { if datagrams.count < 512 { datagrams.append(bytes) } }
    }

    func take() -> [[UInt8]] {
      lock.withLock {
        defer { datagrams = [] }
        return datagrams
      }
    }
  }

  private static func clock() -> Now {
    let time = monotonicClock()
    return Now(monotonic: time, wall: 1_700_000_000 * Limits.second + time)
  }

  /// What the threads of one device share with one another and with the control thread.
  private final class Machine: Sendable {
    let plane: DataPlane
    let endpoint: Endpoint
    let incoming = Line(), control = Line()
    let wakesOutbound = Atomic<Bool>(false)
    let received = Atomic<Int>(0)

    init(_ plane: DataPlane, _ endpoint: Endpoint) {
      self.plane = plane
      self.endpoint = endpoint
    }

    /// The outbound thread: packets to everyone, a train here and there, staged ones when it is woken.
    func sendUntil(_ ending: Ending, to other: Machine, targets: [[UInt8]], seed: UInt64) {
      var random = SeededRandom(seed: seed)
      var outbound = Outbound(plane: plane, reader: 0)
      let send: (inout Train) -> Int = { train in
        for index in 0..<train.count { other.incoming.put(Array(train.datagram(index))) }
        return train.byteCount
      }
      while !ending.has {
        outbound.pass()
        if wakesOutbound.exchange(false, ordering: .acquiringAndReleasing) {
          outbound.flushStaged(now: monotonicClock()) { send(&$0) }
        }
        let now = monotonicClock()
        for _ in 0..<random.below(40) {
          let packet = targets[random.below(targets.count)]
          packet.withUnsafeBytes { outbound.room.copyMemory(from: $0) }
          _ = outbound.push(length: packet.count, now: now) { send(&$0) }
        }
        outbound.flush(now: now) { send(&$0) }
        outbound.leave()
        if random.below(4) == 0 { usleep(200) }
      }
      outbound.leave()
    }

    /// The inbound thread.
    func receiveUntil(_ ending: Ending, from source: Endpoint) {
      var inbound = Inbound(plane: plane, reader: 1)
      var number: UInt16 = 0
      while !ending.has {
        inbound.pass()
        let now = monotonicClock()
        for var datagram in incoming.take() {
          // The peer is somewhere else all the time.
          number &+= 1
          let path = PackedPath(
            Path(to: Endpoint(address: source.address, port: 1 + number % 500), from: endpoint.address))
          datagram.withUnsafeMutableBytes { bytes in
            switch inbound.open(bytes, from: path, now: now) {
            case .packet: received.wrappingAdd(1, ordering: .relaxed)
            case .control: control.put(Array(bytes))
            case .nothing: break
            }
          }
        }
        inbound.leave()
        usleep(100)
      }
      inbound.leave()
    }
  }

  private static func drive(_ device: Device, _ machine: Machine, to other: Machine) {
    for bytes in machine.control.take() {
      let path = PackedPath(Path(to: other.endpoint, from: machine.endpoint.address))
      bytes.withUnsafeBytes { device.handle(ControlMessage($0)!, from: path, now: clock()) }
      perform(device, machine, to: other)
    }
    device.handleEvents(now: clock())
    device.advance(now: clock())
    perform(device, machine, to: other)
  }

  private static func perform(_ device: Device, _ machine: Machine, to other: Machine) {
    for action in device.takeActions() {
      switch action {
      case .send(let message, let path, let peer):
        if path.remote == other.endpoint.address.bits { other.incoming.put(message.withUnsafeBytes { Array($0) }) }
        peer?.sent(message.count)
      case .wakeOutbound: machine.wakesOutbound.store(true, ordering: .releasing)
      case .report, .silenceChanged: break
      }
    }
  }

  @Test(arguments: [1, .random(in: 0 ... .max)] as [UInt64])
  func `nothing breaks, and the tunnel works when the dust has settled`(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    let devices = (0..<2).map { _ in Device(using: SeededRandom(seed: random.next())) }
    let machines = devices.enumerated().map {
      Machine($1.plane, Endpoint(address: .v4(0x0A00_0001 + UInt32($0)), port: 51820))
    }
    let keys = (0..<2).map { _ in (0..<2).map { _ in PrivateKey(using: &random) } }
    let strangers = (0..<4).map { _ in PrivateKey(using: &random).publicKey }
    var current = [0, 0]

    func update(_ which: Int, _ change: (inout DeviceUpdate) -> Void) {
      var update = DeviceUpdate()
      change(&update)
      devices[which].apply(update, now: Self.clock())
      Self.perform(devices[which], machines[which], to: machines[1 - which])
    }
    func friend(_ which: Int, _ key: Int) -> PeerUpdate {
      var peer = PeerUpdate(keys[1 - which][key].publicKey)
      peer.endpoint = machines[1 - which].endpoint
      peer.replacesAllowedIPs = true
      peer.allowedIPs = key == current[1 - which] ? [.add(Pair.prefix(UInt64(2 - which)))] : []
      return peer
    }
    func introduce(_ which: Int) { update(which) { $0.peers = [friend(which, 0), friend(which, 1)] } }
    for which in 0..<2 {
      update(which) { $0.privateKey = .set(keys[which][0]) }
      devices[which].comeUp(now: Self.clock())
      introduce(which)
    }

    let ending = Ending()
    let threads = DispatchGroup()
    for which in 0..<2 {
      let machine = machines[which], other = machines[1 - which]
      let from = UInt8(which + 1)
      let targets = [UInt8(2 - which), UInt8(2 - which), 11, 12, 13, 14].map {
        ipv6Packet(from: from, to: $0, number: 1, size: 300)
      }
      let threadSeed = random.next()
      for body: @Sendable () -> Void in [
        { machine.sendUntil(ending, to: other, targets: targets, seed: threadSeed) },
        { machine.receiveUntil(ending, from: other.endpoint) },
      ] {
        threads.enter()
        Thread.detachNewThread {
          body()
          threads.leave()
        }
      }
    }

    let end = Self.clock().monotonic + UInt64(Self.duration * 1e9)
    var turns = 0
    while Self.clock().monotonic < end {
      turns += 1
      for which in 0..<2 { Self.drive(devices[which], machines[which], to: machines[1 - which]) }
      let which = random.below(2)
      switch random.below(40) {
      case 0:
        current[which] = 1 - current[which]
        update(which) { $0.privateKey = .set(keys[which][current[which]]) }
        introduce(1 - which)
      case 1:
        update(which) { update in
          update.peers = [0, 1].map {
            var peer = PeerUpdate(keys[1 - which][$0].publicKey)
            peer.removes = true
            return peer
          }
        }
      case 2:
        update(which) { update in
          update.replacesPeers = true
          update.peers = [friend(which, 0), friend(which, 1)]
        }
      case 3...9:
        // Strangers never answer: packets wait for them, and go when they do.
        let number = random.below(4)
        update(which) { update in
          var peer = PeerUpdate(strangers[number])
          peer.endpoint = Endpoint(address: .v4(9), port: 9)
          peer.allowedIPs = [.add(Pair.prefix(UInt64(11 + number)))]
          peer.removes = random.below(2) == 0
          update.peers = [peer]
        }
      case 10...13:
        update(which) { update in
          var peer = friend(which, current[1 - which])
          peer.allowedIPs += (0..<50).map { .add(Pair.prefix(UInt64(1000 + random.below(200) + $0))) }
          update.peers = [peer]
        }
      case 14:
        devices[which].goDown()
        Self.perform(devices[which], machines[which], to: machines[1 - which])
        devices[which].comeUp(now: Self.clock())
      case 15: introduce(which)
      default: break
      }
      // A handshake a turn, so that sessions come and go under the threads' hands.
      if random.below(3) == 0 {
        for case let peer? in devices[which].peers { peer.initiationSentAt = nil }
        for case let peer? in devices[which].peers where random.below(2) == 0 {
          devices[which].initiate(peer, isRetry: false, now: Self.clock())
        }
      }
      usleep(200)
    }

    // The dust settles: everyone knows everyone, and after a while packets arrive again.
    for which in 0..<2 { introduce(which) }
    for which in 0..<2 { for case let peer? in devices[which].peers { peer.initiationSentAt = nil } }
    let before = machines.map { $0.received.load(ordering: .relaxed) }
    let limit = Self.clock().monotonic + 20 * Limits.second
    while Self.clock().monotonic < limit,
      zip(machines, before).contains(where: { $0.received.load(ordering: .relaxed) == $1 })
    {
      for which in 0..<2 { Self.drive(devices[which], machines[which], to: machines[1 - which]) }
      usleep(200)
    }
    ending.set()
    threads.wait()
    for (machine, before) in zip(machines, before) { #expect(machine.received.load(ordering: .relaxed) > before) }
    // All threads have left: a turn or two, and everything that was retired is gone.
    for _ in 0..<3 {
      for which in 0..<2 {
        Self.drive(devices[which], machines[which], to: machines[1 - which])
      }
    }
    let kept = devices.map { device in device.retired.count { if case .peer = $0.what { false } else { true } } }
    #expect(kept == [0, 0], "after \(turns) turns")
  }
}

private func monotonicClock() -> UInt64 {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return UInt64(time.tv_sec) * Limits.second + UInt64(time.tv_nsec)
}
