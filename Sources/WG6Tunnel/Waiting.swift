import Glibc

/// Asks `condition` until it holds, every millisecond at first and every 10 after that; returns whether it did in time.
func wait<Failure: Error>(seconds: Int, _ condition: () throws(Failure) -> Bool) throws(Failure) -> Bool {
  for round in 0..<seconds * 100 {
    if try condition() { return true }
    usleep(round < 20 ? 1000 : 10000)
  }
  return try condition()
}
