#pragma once

#include <stdint.h>
#include <sys/uio.h>

/// A way to or from a peer, addresses in network order, IPv4 in the first four bytes.
struct linux_path {
  uint8_t remote[16];
  uint8_t local[16];
  uint32_t zone;
  uint32_t local_interface;
  uint16_t port;
  uint8_t has_local;
};

/// A buffer for a datagram, and what came into it.
struct linux_datagram {
  void *buffer;
  uint32_t capacity;
  uint32_t length;
  struct linux_path path;
  /// Non-zero where the datagram was longer than the buffer.
  uint8_t is_truncated;
};

/// Datagrams that one call of `linux_receive` or `linux_send` moves at the most.
enum { LINUX_BATCH = 64 };

/// An unbound, non-blocking UDP socket that tells where datagrams were sent to. Returns a descriptor or -errno.
int linux_udp_socket(int is_ipv6);

/// Binds to `port` on every address (0: a free one). Returns the port or -errno.
int linux_bind(int descriptor, int is_ipv6, uint16_t port);

/// SO_MARK. Returns 0 or -errno.
int linux_set_mark(int descriptor, uint32_t mark);

/// Whether this machine may send a datagram that is longer than the outgoing interface's MTU in fragments; where not,
/// sending it fails with EMSGSIZE. Routers may fragment either way. Returns 0 or -errno.
int linux_allow_fragments(int descriptor, int is_ipv6, int allowed);

/// Receives up to `count` datagrams without waiting. Returns how many, or -errno.
int linux_receive(int descriptor, int is_ipv6, struct linux_datagram *datagrams, int count);

/// Sends up to `count` datagrams to `path`, from its local address where it has one. Returns how many went out, or -errno.
int linux_send(int descriptor, int is_ipv6, const struct linux_path *path, struct iovec *datagrams, int count);

/// Takes the next error off the socket's queue. Returns 1 where the network (ICMP) says that a datagram to `path` did not
/// arrive, 0 for any other error, or -errno: -EAGAIN where there is none.
int linux_next_refusal(int descriptor, int is_ipv6, struct linux_path *path);
