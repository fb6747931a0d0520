import Benchmark
import CMallocCounter

/// Every benchmark of the engine's parts. An iteration is a thousand operations, which the report divides out again.
let benchmarks: @Sendable () -> Void = {
  Benchmark.defaultConfiguration.metrics = [.wallClock, .throughput, .instructions, .mallocCalls]
  Benchmark.defaultConfiguration.scalingFactor = .kilo
  Benchmark.defaultConfiguration.maxDuration = .milliseconds(500)
  benchmarkCiphers()
  benchmarkOffload()
  benchmarkLookUps()
  benchmarkHandshakes()
  benchmarkTexts()
}

extension BenchmarkMetric {
  /// Counted by our own library, before the C library's malloc.
  static let mallocCalls = BenchmarkMetric.custom("malloc (total)")
}

extension Benchmark {
  /// Measures `body`, which does the operation as often as it is told to; what `make` makes before is not measured.
  static func measure<State>(
    _ name: String, of make: @escaping () -> State, _ body: @escaping (_ state: State, _ count: Int) -> Void
  ) {
    Benchmark(
      name,
      closure: { (benchmark: Benchmark, state: State) in
        let calls = malloc_calls()
        benchmark.startMeasurement()
        body(state, benchmark.scaledIterations.count)
        benchmark.stopMeasurement()
        benchmark.measurement(.mallocCalls, Int(malloc_calls() - calls))
      },
      setup: { make() })
  }
}
