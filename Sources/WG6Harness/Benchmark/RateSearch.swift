import Foundation

/// Looks for the highest rate at which less than 1% of the datagrams are lost.
enum RateSearch {
  /// The share that may be lost, and the share up to which a loss may have been an accident of the machine's.
  static let tolerance = 0.01, doubtful = 0.25

  /// The rate in datagrams a second that arrived in the best trial that kept the tolerance; 0 when none did.
  ///
  /// `trial` sends at the rate, and for the seconds, that it is handed. The first three are as fast as the sender can;
  /// from there on the interval is halved, as a ratio, which after seven trials leaves 3% between the best and the next.
  static func highest(_ trial: (_ rate: Double, _ seconds: Double) throws -> DatagramPath.Trial) throws -> Double {
    var best = 0.0
    /// Whether a rate can be kept up. What fails by a little is tried again, twice.
    func keeps(_ rate: Double, seconds: Double) throws -> Bool {
      for _ in 0..<3 {
        let trial = try trial(rate, seconds)
        if trial.loss < tolerance {
          best = max(best, trial.rate)
          return true
        }
        if trial.loss > doubtful { return false }
      }
      return false
    }
    var above = 0.0
    for _ in 0..<3 {
      let trial = try trial(.infinity, 0.3)
      above = max(above, Double(trial.sent) / trial.seconds)
      if trial.loss < tolerance { best = max(best, trial.rate) }
    }
    // The path carries what the sender can. A slower trial without loss says no more than that the sender was held up.
    if best > 0.9 * above { return best }
    var below = above / 64
    for _ in 0..<7 {
      let middle = (below * above).squareRoot()
      if try keeps(middle, seconds: 0.5) { below = middle } else { above = middle }
    }
    return best
  }
}
