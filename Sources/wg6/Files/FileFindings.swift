import WG6Config
import WG6Protocol

extension ConfigurationSource {
  /// Who gets what by this file, on this machine as it is now.
  func coverage(of configuration: ConfigurationFile) throws -> Coverage {
    Coverage(configuration, connected: try connectedNetworks(for: configuration))
  }

  /// The networks around, where the file speaks of them.
  func connectedNetworks(for configuration: ConfigurationFile) throws -> [IPPrefix] {
    configuration.excludesLAN ? try LocalNetworks.connected(except: try? interface()) : []
  }

  /// What `check` tells, and `up` and `reload` as warnings; see `ConfigurationFile.findings`.
  func findings(
    of configuration: ConfigurationFile, coverage: Coverage, endpoints: [EndpointName: Endpoint],
    isWorldAccessible: Bool, names: PeerNames
  ) -> [FileMistake] {
    configuration.findings(
      named: path, isWorldAccessible: isWorldAccessible, coverage: coverage, endpoints: endpoints, name: names.name)
  }

  /// The addresses of the endpoints, each name asked for once and never waited for, and those that nobody knows.
  func knownEndpoints(
    of configuration: ConfigurationFile
  ) -> (found: [EndpointName: Endpoint], failures: [FileMistake]) {
    configuration.lookUpEndpoints(named: path, retries: 0) { _, _ in }
  }
}
