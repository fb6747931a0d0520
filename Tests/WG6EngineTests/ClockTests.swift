import Glibc
import Testing
import WG6Linux

@Suite struct `This machine's clocks` {
  private func nanoseconds(of clock: clockid_t) -> UInt64 {
    var time = timespec()
    clock_gettime(clock, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }

  @Test func `the engine's clock is the one that runs on while the machine sleeps`() {
    let before = nanoseconds(of: CLOCK_BOOTTIME)
    let clock = Clock.now
    #expect((before...nanoseconds(of: CLOCK_BOOTTIME)).contains(clock.monotonic))
    #expect(clock.monotonic > 0)
    let wall = nanoseconds(of: CLOCK_REALTIME)
    #expect(clock.wall <= wall && clock.wall > wall - 3_600_000_000_000)
  }
}
