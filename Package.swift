// swift-tools-version: 6.2
import PackageDescription

/// Every target of ours: Swift 6 mode, every use of an unsafe construct marked, no warning tolerated.
let strict: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .strictMemorySafety(),
  .treatAllWarnings(as: .error),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
]

/// Tests and the harness play with files and processes all day: the same, without the `unsafe` markers.
let testing: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .treatAllWarnings(as: .error),
  .enableUpcomingFeature("ExistentialAny"),
]

let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let system = Target.Dependency.product(name: "SystemPackage", package: "swift-system")

let package = Package(
  name: "wg6",
  products: [
    .executable(name: "wg6", targets: ["wg6"]),
    .executable(name: "wg6d", targets: ["wg6d"]),
    .library(name: "WG6Protocol", targets: ["WG6Protocol"]),
    .library(name: "WG6Config", targets: ["WG6Config"]),
    // For tests and benchmarks: loaded before a daemon, or linked, it counts calls of malloc.
    .library(name: "malloc-counter", type: .dynamic, targets: ["CMallocCounter"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
  ],
  targets: [
    // What the system brings.
    .systemLibrary(name: "CSodium", pkgConfig: "libsodium", providers: [.apt(["libsodium-dev"])]),
    .systemLibrary(name: "CNetlink", pkgConfig: "libnl-route-3.0", providers: [.apt(["libnl-route-3-dev"])]),
    .systemLibrary(name: "CNftables", pkgConfig: "libnftables", providers: [.apt(["libnftables-dev"])]),
    .target(name: "CLinux"),
    // Loads ipsec-mb when the program runs, so nothing is linked but libsodium.
    .target(name: "CVectorCrypto", dependencies: ["CSodium"]),

    // The engine, from the primitives to the daemon's threads.
    .target(name: "WG6Crypto", dependencies: ["CSodium", "CVectorCrypto"], swiftSettings: strict),
    .target(name: "WG6Protocol", dependencies: ["WG6Crypto"], swiftSettings: strict),
    .target(name: "WG6Config", dependencies: ["WG6Protocol", "WG6Crypto"], swiftSettings: strict),
    // What a capture is written as.
    .target(name: "WG6Capture", dependencies: ["WG6Config", "WG6Protocol", "WG6Crypto"], swiftSettings: strict),
    .target(name: "WG6Simulation", dependencies: ["WG6Protocol", "WG6Crypto"], swiftSettings: strict),
    .target(
      name: "WG6Linux",
      dependencies: ["WG6Protocol", "WG6Crypto", "CLinux", "CNetlink", system], swiftSettings: strict),
    // What a tunnel changes on a machine, and how that is undone. The packet filter is here, so that the daemon loads nothing
    // of libnftables.
    .target(
      name: "WG6Tunnel",
      dependencies: ["WG6Config", "WG6Linux", "WG6Protocol", "WG6Crypto", "CLinux", "CNftables", system],
      swiftSettings: strict),
    .target(
      name: "WG6Engine",
      dependencies: ["WG6Protocol", "WG6Config", "WG6Crypto", "WG6Linux", "CLinux", logging, system],
      swiftSettings: strict),

    // What people run.
    .executableTarget(
      name: "wg6d", dependencies: ["WG6Engine", "WG6Linux", "CLinux", logging, system], swiftSettings: strict),
    .executableTarget(
      name: "wg6",
      dependencies: [
        "WG6Tunnel", "WG6Capture", "WG6Config", "WG6Protocol", "WG6Crypto", "WG6Linux", "CLinux", argumentParser,
        system,
      ],
      swiftSettings: strict),

    // What tests and curious people run.
    .target(name: "CHarness"),
    .target(name: "CMallocCounter"),
    // Of the engine only what an attacker could take for a tool as well (`Strangers.swift`): the peers that the
    // scenarios are about are programs.
    .target(name: "WG6Harness", dependencies: ["CHarness", "WG6Protocol", "WG6Crypto"], swiftSettings: testing),
    .executableTarget(name: "wg6-lab", dependencies: ["WG6Harness", argumentParser], swiftSettings: testing),
    .executableTarget(
      name: "wg6-simulate", dependencies: ["WG6Simulation", "WG6Crypto", argumentParser], swiftSettings: testing),

    .target(name: "TestVectors", dependencies: ["WG6Crypto"], path: "Tests/TestVectors", swiftSettings: testing),
    .testTarget(
      name: "WG6CryptoTests", dependencies: ["WG6Crypto", "WG6Simulation", "CSodium", "CVectorCrypto", "TestVectors"],
      swiftSettings: testing),
    .testTarget(
      name: "WG6ProtocolTests",
      dependencies: ["WG6Protocol", "WG6Crypto", "WG6Simulation", "TestVectors"], swiftSettings: testing),
    .testTarget(
      name: "WG6SimulationTests", dependencies: ["WG6Simulation", "WG6Protocol", "WG6Crypto"],
      swiftSettings: testing),
    .target(name: "BrokenFiles", dependencies: ["WG6Config"], path: "Tests/BrokenFiles", swiftSettings: testing),
    .testTarget(
      name: "WG6ConfigTests", dependencies: ["WG6Config", "WG6Protocol", "WG6Crypto", "BrokenFiles"],
      swiftSettings: testing),
    .testTarget(
      name: "WG6CaptureTests", dependencies: ["WG6Capture", "WG6Config", "WG6Protocol", "WG6Crypto"],
      swiftSettings: testing),
    .testTarget(
      name: "WG6EngineTests",
      dependencies: [
        "WG6Engine", "WG6Tunnel", "WG6Config", "WG6Protocol", "WG6Linux", "WG6Crypto", "WG6Simulation", "CLinux",
        "CHarness", logging, system,
      ],
      swiftSettings: testing),
    .testTarget(
      name: "WG6TunnelTests",
      dependencies: [
        "WG6Tunnel", "WG6Config", "WG6Linux", "WG6Protocol", "WG6Crypto", "WG6Simulation", "CHarness", system,
      ],
      swiftSettings: testing),
    .testTarget(
      name: "CommandLineTests", dependencies: ["wg6", "wg6d", "BrokenFiles"], exclude: ["Shells"],
      swiftSettings: testing),
    .testTarget(name: "ScenarioTests", dependencies: ["WG6Harness"], swiftSettings: testing),
  ]
)

// The fuzzer links libFuzzer, which only `make fuzz` asks for.
if Context.environment["WG6_FUZZ"] != nil {
  package.targets += [
    .systemLibrary(name: "CLibFuzzer", path: "Fuzz/CLibFuzzer"),
    .executableTarget(
      name: "wg6-fuzz",
      dependencies: [
        "WG6Protocol", "WG6Config", "WG6Capture", "WG6Crypto", "WG6Simulation", "BrokenFiles", "CLibFuzzer",
      ],
      path: "Fuzz/Sources", swiftSettings: testing),
  ]
}
