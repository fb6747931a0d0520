import WG6Linux

extension Tunnel {
  /// Removes what programs of `wg6 exec` had of this tunnel. Those that still run inside stay cut off.
  func releasePrograms() {
    do throws(ExecutionError) {
      if try TunnelExecution.remove(interface: interface) {
        warn("programs that 'wg6 exec' started still run; they stay cut off until they end")
      }
    } catch {
      warn("what programs of 'wg6 exec' had is not removed: \(error)")
    }
  }

  /// Gives programs of `wg6 exec` their ways as routes and rules are now.
  func reclaimPrograms(_ link: Link) {
    do throws(ExecutionError) {
      try TunnelExecution.refresh(link)
    } catch {
      warn("the ways of programs of 'wg6 exec' are not up to date: \(error)")
    }
  }
}
