import WG6Protocol

extension DropReason {
  /// The reason's key in answers of the control socket, all of which begin with `dropped_`.
  var key: StaticString { text.key }

  /// The reason of this key; nil where there is none.
  init?(key: RawSpan) {
    guard let reason = DropReason.allCases.first(where: { key.equals($0.key) }) else { return nil }
    self = reason
  }

  /// A few words for a list.
  public var name: String { text.name }

  /// What it means, and what may be done about it.
  public var explanation: String { text.explanation }

  private var text: (key: StaticString, name: String, explanation: String) {
    switch self {
    case .malformedMessage:
      ("dropped_malformed_message", "malformed message", "a datagram that is no WireGuard message")
    case .badMac1:
      (
        "dropped_bad_mac1", "bad mac1",
        "a handshake by someone who does not have this interface's public key: compare the keys on both sides"
      )
    case .cookieRequired:
      (
        "dropped_cookie_required", "cookie required",
        "under load, a handshake without proof that its sender is where it says; a cookie went back"
      )
    case .rateLimited:
      ("dropped_rate_limited", "rate limited", "under load, more handshakes from one address than 20 a second")
    case .handshakeQueueFull:
      ("dropped_handshake_queue_full", "handshake queue full", "more handshake messages than can be looked at")
    case .unknownReceiver:
      (
        "dropped_unknown_receiver", "unknown receiver",
        "data for a session that is not here, as after a restart; the peer will make a new one"
      )
    case .unknownPeer:
      ("dropped_unknown_peer", "unknown peer", "a handshake by a public key that is no peer of this interface")
    case .unauthenticatedHandshake:
      (
        "dropped_unauthenticated_handshake", "handshake not authentic",
        "forged or damaged, or the preshared keys of both sides differ"
      )
    case .staleTimestamp:
      (
        "dropped_stale_timestamp", "peer timestamp older",
        "a handshake repeated by someone, or the peer's clock went backwards"
      )
    case .initiationFlood:
      ("dropped_initiation_flood", "initiations too fast", "more than one handshake of a peer in 20 ms")
    case .unexpectedResponse:
      ("dropped_unexpected_response", "unexpected response", "an answer to no handshake that is under way")
    case .unexpectedCookieReply:
      ("dropped_unexpected_cookie_reply", "unexpected cookie", "a cookie for no handshake message of ours, or forged")
    case .unauthenticatedData:
      ("dropped_unauthenticated_data", "data not authentic", "forged or damaged on the way")
    case .replayedData:
      ("dropped_replayed_data", "data seen before", "repeated by the network or by someone, or far too late")
    case .expiredKey:
      ("dropped_expired_key", "key expired", "data under a session that is over")
    case .malformedPacket:
      ("dropped_malformed_packet", "malformed packet", "a peer sent what is no IP packet")
    case .sourceNotAllowed:
      (
        "dropped_source_not_allowed", "source not allowed",
        "a peer sent from an address that is not in its allowed IPs here"
      )
    case .deviceRefusedPacket:
      ("dropped_device_refused_packet", "interface refused packet", "the interface is down, or takes no more")
    case .notAnIPPacket:
      ("dropped_not_an_ip_packet", "not an IP packet", "a program sent what is no IP packet")
    case .malformedSuperPacket:
      (
        "dropped_malformed_super_packet", "malformed super-packet",
        "the interface handed over a packet to be segmented that can't be: try --no-offload"
      )
    case .noPeerForDestination:
      ("dropped_no_peer_for_destination", "no peer for destination", "the destination is in no peer's allowed IPs")
    case .noEndpoint:
      (
        "dropped_no_endpoint", "no endpoint",
        "it is not known where the peer is: set its Endpoint, or wait until it calls"
      )
    case .routingLoop:
      (
        "dropped_routing_loop", "routing loop",
        "this interface's own datagrams were routed into it: leave the endpoint out of its prefixes, or route by mark"
      )
    case .packetTooBig:
      (
        "dropped_packet_too_big", "packet too big",
        "longer than a datagram can carry, or than a tunnel that the datagram would go through"
      )
    case .multicastLimit:
      (
        "dropped_multicast_limit", "multicast limit",
        "more multicast than 10,000 copies a second; with up to 40 peers that is 250 packets a second"
      )
    case .stagedTooLong:
      ("dropped_staged_too_long", "waited in vain", "packets pushed out by later ones while a handshake was under way")
    case .handshakeUnanswered:
      (
        "dropped_handshake_unanswered", "handshake unanswered",
        "sent, and nothing came back: wrong endpoint, a firewall, or the peer does not know this interface's key"
      )
    case .handshakeGivenUp:
      ("dropped_handshake_given_up", "handshake given up", "packets thrown away when 90 s of tries had no answer")
    case .noOuterSource:
      (
        "dropped_no_outer_source", "no outer source",
        "this machine has no address to send to the endpoint from but the tunnel's own"
      )
    case .networkRefusedMessage:
      ("dropped_network_refused_message", "network refused message", "no route to the endpoint, or a local firewall")
    case .endpointUnreachable:
      (
        "dropped_endpoint_unreachable", "endpoint unreachable",
        "the network says so (ICMP): nobody listens on that port, or there is no way to that address"
      )
    }
  }
}
