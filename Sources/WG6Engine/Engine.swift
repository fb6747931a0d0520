import CLinux
import Glibc
import Logging
import Synchronization
import SystemPackage
import WG6Config
import WG6Crypto
import WG6Linux
import WG6Protocol

/// A WireGuard device at work: a TUN interface, two UDP sockets, a control socket, and three threads.
///
/// The thread that calls `run` is the control thread, and the only one that touches the `Device`. The outbound and the
/// inbound thread work on its data plane and meet it in `Wires`.
public final class Engine {
  let wires: Wires
  let device: Device
  let server: ControlServer
  private let signals: SignalReader
  private let watch: SocketWatch?
  private let timer: WakeTimer
  let poller: Poller
  private let threadCount: Int
  var log: Logger

  /// The port that was asked for, or found; 0 for any.
  var port: UInt16 = 0
  var isBound = false
  var mark: UInt32 = 0
  private var isUp = false
  private var settings: InterfaceSettings
  var routes = RouteReview()
  var routeSync = RouteSync()
  var hasCarrier = true
  var isCarrierTroubleTold = false
  private var reports = ReportLog()
  private var errorAnswers = ErrorAnswers()
  private let name: String
  private var reloader: Reloader?
  private var isUnlockedMemoryTold = false
  private var ending: Ending?

  /// Why the engine has come to its end.
  public enum Ending: Sendable, Equatable {
    case signal(Int32)
    case interfaceDeleted
    case controlSocketRemoved
  }

  private enum Token {
    static let bell: UInt64 = 0
    static let timer: UInt64 = 1
    static let monitor: UInt64 = 2
    static let signals: UInt64 = 3
    static let listener: UInt64 = 4
    static let watch: UInt64 = 5
    /// Clients are told apart by their descriptors, above this.
    static let client: UInt64 = 1 << 32
  }

  static func clientToken(_ descriptor: Int32) -> UInt64 { Token.client | UInt64(descriptor) }

  /// Where the engine gets its interface and its control socket from.
  public struct Sources: Sendable {
    public var interface: String
    /// A TUN descriptor that someone else opened, in place of a new interface.
    public var tunDescriptor: Int32?
    /// A listening control socket that someone else opened.
    public var controlDescriptor: Int32?
    /// What may be offloaded, as far as this machine can.
    public var offloads = Offloads.all
    /// Threads that carry data, of which one reads from the device and one from the network: 2 at least.
    public var threads = 2
    /// As many as anyone has processors to spare for one tunnel.
    public static let mostThreads = 64
    /// What data is sealed and opened with; nil for the best that this machine has.
    public var cipher: TrainCipher.Kind?
    /// The program that SIGHUP starts, as `PROGRAM reload INTERFACE`; without one SIGHUP ends the engine.
    public var reloader: String?

    public init(interface: String) {
      self.interface = interface
    }
  }

  /// Makes the interface and listens on the control socket. Nothing runs before `run`, and nothing stays on error.
  public init(_ sources: Sources, log: Logger) throws(StartError) {
    try Starting.checkCipher(sources.cipher)
    let tun = try Starting.openTUN(sources)
    let name = try Starting.name(of: tun)
    if sources.tunDescriptor == nil { try Starting.setDefaultMTU(of: name) }
    self.log = log
    threadCount = sources.threads
    self.log[metadataKey: "interface"] = "\(name)"
    self.name = name
    reloader = sources.reloader.map { Reloader($0) }
    settings = InterfaceSettings(name, isOurs: sources.tunDescriptor == nil, log)
    device = Device(using: SystemRandomNumberGenerator())
    server = try Starting.openServer(sources, for: name)
    do {
      signals = try SignalReader([SIGTERM, SIGINT, SIGHUP, SIGCHLD])
      wires = try Wires(tun: tun, plane: device.plane, offloads: sources.offloads, cipher: sources.cipher)
      timer = try WakeTimer()
      poller = try Poller()
      watch = try server.path.map { path throws(Errno) in try SocketWatch(path) }
      try poller.add(wires.control.descriptor.rawValue, token: Token.bell)
      try poller.add(timer.descriptor.rawValue, token: Token.timer)
      try poller.add(wires.routeNews.monitor.descriptor.rawValue, token: Token.monitor)
      try poller.add(signals.descriptor.rawValue, token: Token.signals)
      try poller.add(
        server.listener.rawValue, token: Token.listener, events: Poller.readable | Poller.onArrival)
      if let watch { try poller.add(watch.file.descriptor.rawValue, token: Token.watch) }
    } catch {
      throw StartError("cannot set up the threads' descriptors: \(error)")
    }
    tellUnlockedMemory()
  }

  /// Runs the device until a signal, the interface's deletion or the control socket's removal ends it.
  public func run() throws(StartError) -> Ending {
    let threads = DataThreads(wires, count: threadCount)
    defer { threads.end() }
    do {
      try threads.start()
    } catch {
      throw StartError("cannot start a thread: \(error)")
    }
    reviewRoutes()
    interfaceChanged()
    var reason = ending
    while reason == nil {
      do { try turn() } catch { throw StartError("cannot wait for events: \(error)") }
      // With a data thread gone the tunnel would stand there and carry nothing.
      if let failure = wires.failure.withLock({ $0 }) { throw failure }
      reason = ending
    }
    device.goDown()
    followSilence()
    return reason!
  }

  // MARK: The control thread's turn

  private func turn() throws(Errno) {
    var ready: [(token: UInt64, events: UInt32)] = []
    try poller.wait { ready.append(($0, $1)) }
    // Before anything is sent.
    if ready.contains(where: { $0.token == Token.monitor }) || wires.routeNews.takeRequest() { heedRoutes() }
    for entry in ready { handle(entry.token) }
    handleHandshakes()
    handleRefusals()
    errorAnswers.send(wires, log)
    device.handleEvents(now: Clock.now)
    device.advance(now: Clock.now)
    perform()
    passOnKeyLog()
    if wires.interfaceIsGone.load(ordering: .acquiring) { interfaceChanged() }
    heed(wires.takeNotices())
    reviewRoutes()
    tellUnlockedMemory()
    timer.set([device.nextWake(now: Clock.monotonic), routes.nextWake, routeSync.nextWake].compactMap { $0 }.min())
  }

  private func received(_ signal: Int32) {
    switch signal {
    case SIGCHLD: reloader?.childEnded(name, log)
    case SIGHUP where reloader != nil: reloader?.start(name, log)
    default: ending = .signal(signal)
    }
  }

  private func handle(_ token: UInt64) {
    switch token {
    case Token.bell: wires.control.hush()
    case Token.timer: timer.hush()
    case Token.monitor: break
    case Token.signals:
      if let signal = signals.next() { received(signal) }
    case Token.listener:
      server.accept(poller) { Engine.clientToken($0) }
    case Token.watch:
      watch?.file.drain()
      if !server.isInPlace { ending = .controlSocketRemoved }
    default:
      server.serve(Int32(token & 0xFFFF_FFFF), poller, token: token) { answer($0, of: $1, into: &$2) }
      if server.someoneWaits { server.accept(poller) { Engine.clientToken($0) } }
    }
  }

  /// Takes handshake messages off the queue, a bounded number, so that timers and clients have their turn in a flood.
  private func handleHandshakes() {
    for _ in 0..<64 {
      guard let entry = wires.handshakes.pop() else { return }
      device.handle(entry.message, from: entry.path, fill: wires.handshakes.fill, now: Clock.now)
      perform()
    }
    wires.control.ring()
  }

  /// As many as wait at a time; there is nothing urgent about them.
  private func handleRefusals() {
    for _ in 0..<64 {
      guard let path = wires.refusals.pop() else { return }
      device.refused(path, now: Clock.now)
    }
  }

  /// Carries out what the device asks for.
  func perform() {
    for action in device.takeActions() {
      switch action {
      case .send(let message, let path, let peer):
        let sent = wires.send(message, along: path, isReply: peer == nil)
        if let checked = sent.path { peer?.replace(path, by: checked) }
        if sent.count == 1 {
          peer?.sent(message.count)
        } else {
          wires.plane.drop(sent.hasNoSource ? .noOuterSource : .networkRefusedMessage, of: peer)
        }
      case .wakeOutbound:
        wires.outbound.ring()
      case .silenceChanged:
        followSilence()
      case .report(let report):
        reports.tell(report, to: log, now: Clock.monotonic)
      }
    }
  }

  /// Says what of the offloads has turned out not to work here.
  private func heed(_ notice: Wires.Notice) {
    // Most of the code that has run so far, ciphers' trials above all, won't run again.
    if notice.contains(.started) { linux_drop_code() }
    if notice.contains(.segmentationEnded) {
      log.notice("the network card refuses datagrams sent as one (UDP_SEGMENT): sending them one by one from now on")
    }
    if notice.contains(.mergedPacketRefused) {
      log.notice("the kernel refuses some packets merged on their way in: writing such packets one by one from now on")
    }
  }

  /// Says once that keys may be swapped out: at the start, or when there are so many that the limit is reached.
  private func tellUnlockedMemory() {
    guard !isUnlockedMemoryTold, SecretMemory.unlockedByteCount != 0 else { return }
    isUnlockedMemoryTold = true
    log.warning(
      "memory for keys cannot be locked, so keys may be swapped out to disk: raise the limit (ulimit -l, LimitMEMLOCK= of systemd), or give it CAP_IPC_LOCK"
    )
  }

  /// Takes what the kernel tells of interfaces, addresses and routes, and reviews it.
  private func heedRoutes() {
    wires.routeNews.round {
      let changes = wires.routeNews.monitor.drain(of: wires.tun.index)
      if !changes.isEmpty { wires.sockets.sources.machineChanged() }
      if changes.contains(.links) { interfaceChanged() }
      routes.noteChanges(changes)
      if changes.contains(.ownRoutes) { routeSync.noteChange(device) }
      reviewRoutes()
    }
  }

  /// Looks at what routes have changed for the peers, if any have.
  private func reviewRoutes() {
    if routes.nextWake != nil,
      let mtus = routes.review(device, wires.sockets.sources, interface: wires.tun.index, mark: mark)
    {
      wires.plane.setRouteMTUs(mtus)
    }
    if routeSync.nextWake != nil { routeSync.review(device, interface: wires.tun.index, log) }
    if routes.nextWake == nil, routeSync.nextWake == nil { wires.routeNews.listenAgain(wires.outboundPoller) }
  }

  // MARK: The interface

  /// Something about an interface has changed: looks at ours.
  private func interfaceChanged() {
    wires.plane.interfaceIndex = wires.tun.index
    let name: String
    do {
      name = try wires.tun.name()
    } catch {
      ending = ending ?? .interfaceDeleted
      return
    }
    // An interface that was moved to another network namespace can't be asked from here, and counts as up.
    let mtu = try? Interface.mtu(of: name)
    settings.interfaceChanged(name, mtu: mtu, wires.tun, log)
    if let mtu { wires.plane.mtu = mtu }
    let nowUp = (try? Interface.isUp(name)) ?? true
    guard nowUp != isUp else { return }
    isUp = nowUp
    if nowUp { comeUp() } else { goDown() }
  }

  private func comeUp() {
    log.debug("interface is up")
    if !isBound {
      do throws(Errno) {
        try bind(port)
      } catch {
        log.error(
          "cannot listen on UDP port \(port): \(error). Another program may have it; choose another listen port")
      }
    }
    device.comeUp(now: Clock.now)
    perform()
  }

  private func goDown() {
    log.debug("interface is down")
    device.goDown()
    perform()
    try? wires.sockets.close()
    isBound = false
  }

  /// Binds both sockets to `wanted`, 0 for any free port. On error everything is as it was.
  func bind(_ wanted: UInt16) throws(Errno) {
    let opened = try wires.open(port: wanted, mark: mark)
    port = opened.port
    isBound = true
    if let reason = opened.withoutIPv4 { log.notice("no IPv4 here (\(reason)): using IPv6 alone") }
    if let reason = opened.withoutIPv6 { log.notice("no IPv6 here (\(reason)): using IPv4 alone") }
    log.debug(
      "listening on UDP port \(port); cipher \(wires.cipherName), offloads \(wires.tun.offloads.union(opened.offloads))"
    )
  }
}

/// A watch that there may be none of: where someone else made the control socket, its file is theirs.
private final class SocketWatch {
  let file: RemovalWatch

  init(_ path: String) throws(Errno) {
    file = try RemovalWatch(of: path)
  }
}
