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

/// A buffer for a datagram, and what came into it. Where the kernel has merged datagrams (UDP_GRO), they are many: each of
/// them `segment_size` bytes long, but for the last, which may be shorter.
struct linux_datagram {
  void *buffer;
  uint32_t capacity;
  uint32_t length;
  /// 0 where it is one.
  uint32_t segment_size;
  struct linux_path path;
  /// Non-zero where it was longer than the buffer.
  uint8_t is_truncated;
};

/// Datagrams to one path, back to back: `byte_count` bytes, cut after every `segment_size` of them; the last datagram may be
/// shorter. It is one datagram where that is all of it. At most 64 datagrams, and 65,507 bytes on IPv4, 65,527 on IPv6.
struct linux_run {
  void *base;
  uint32_t byte_count;
  uint32_t segment_size;
};

/// Messages that one call of `linux_receive` or `linux_send` moves at the most.
enum { LINUX_BATCH = 64 };

/// An unbound, non-blocking UDP socket that tells where datagrams were sent to. Returns a descriptor or -errno.
int linux_udp_socket(int is_ipv6);

/// Binds to `port` on every address (0: a free one). Returns the port or -errno.
int linux_bind(int descriptor, int is_ipv6, uint16_t port);

/// SO_MARK. Returns 0 or -errno.
int linux_set_mark(int descriptor, uint32_t mark);

/// UDP_GRO: lets the kernel hand over datagrams of one sender together. Returns 0 or -errno.
int linux_merge_received(int descriptor);

/// Whether the kernel takes runs of more than one datagram (UDP_SEGMENT, from Linux 4.18 on).
int linux_knows_segments(int descriptor);

/// Receives up to `count` messages without waiting. Returns how many, or -errno.
int linux_receive(int descriptor, int is_ipv6, struct linux_datagram *datagrams, int count);

/// Sends up to `count` runs to `path`, from its local address where it has one, each as one message that the kernel or the
/// network card cuts (UDP_SEGMENT). Returns how many runs went out, or -errno.
int linux_send(int descriptor, int is_ipv6, const struct linux_path *path, const struct linux_run *runs, int count);

/// Sends the first datagrams of `run`, up to LINUX_BATCH, each as a message of its own. Returns how many datagrams went
/// out, or -errno.
int linux_send_singly(int descriptor, int is_ipv6, const struct linux_path *path, const struct linux_run *run);

/// Takes the next error off the socket's queue. Returns 1 where the network (ICMP) says that a datagram to `path` did not
/// arrive, 0 for any other error, or -errno: -EAGAIN where there is none.
int linux_next_refusal(int descriptor, int is_ipv6, struct linux_path *path);
