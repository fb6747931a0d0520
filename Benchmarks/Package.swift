// swift-tools-version: 6.2
import PackageDescription

// The engine's parts, one by one. A package of its own, so that who builds wg6 needs nothing of this; it looks at the
// engine's inside, so it is built with -enable-testing: see `make bench-micro`.
let package = Package(
  name: "wg6-benchmarks",
  dependencies: [
    .package(name: "wg6", path: ".."),
    // Without its traits, which replace malloc and the Swift runtime's counting by their own: ours counts.
    .package(url: "https://github.com/ordo-one/benchmark", from: "1.38.1", traits: []),
  ],
  targets: [
    .executableTarget(
      name: "Engine",
      dependencies: [
        .product(name: "WG6Protocol", package: "wg6"),
        .product(name: "malloc-counter", package: "wg6"),
        .product(name: "Benchmark", package: "benchmark"),
      ],
      path: "Benchmarks/Engine",
      swiftSettings: [.treatAllWarnings(as: .error), .enableUpcomingFeature("ExistentialAny")],
      plugins: [.plugin(name: "BenchmarkPlugin", package: "benchmark")])
  ]
)
