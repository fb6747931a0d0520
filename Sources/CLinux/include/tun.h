#pragma once

#include <stddef.h>
#include <sys/uio.h>

/// Makes or attaches to the TUN interface `name` (IPv4 and IPv6 packets). With `has_header`, a virtio header of 10 bytes
/// stands before each (IFF_VNET_HDR); without, none of its offloads is on. Returns a non-blocking descriptor or -errno.
int linux_tun_open(const char *name, int has_header);

/// Whether a virtio header of 10 bytes stands before the packets of a TUN descriptor: 1 or 0, or -errno; -EPROTONOSUPPORT
/// where it is a longer one, or an Ethernet header (TAP).
int linux_tun_has_header(int descriptor);

/// What a reader can be handed. The headers of Debian 12 lack the last two.
enum {
  LINUX_TUN_CHECKSUM = 0x01,
  LINUX_TUN_TSO = 0x02 | 0x04,
  LINUX_TUN_TSO_ECN = 0x08,
  LINUX_TUN_USO = 0x20 | 0x40,
};

/// TUNSETOFFLOAD. Returns 0 or -errno, -EINVAL where the kernel does not know one of `offloads`.
int linux_tun_set_offloads(int descriptor, unsigned offloads);

/// The name of the interface behind a TUN descriptor, up to IFNAMSIZ bytes. Returns 0 or -errno; an interface that was
/// deleted gives -EBADFD.
int linux_tun_name(int descriptor, char *name);

/// Opens the network namespace that the interface is currently in (Linux 5.2). Returns a descriptor or -errno.
int linux_tun_namespace(int descriptor);

/// Tells the kernel whether the interface's other end is there (Linux 5.0). Returns 0 or a negative errno.
int linux_tun_set_carrier(int descriptor, int has_carrier);

/// Writes one packet, as it is; with `has_header`, behind a virtio header that asks for nothing. Returns 0 or -errno.
int linux_tun_write(int descriptor, int has_header, const void *packet, size_t length);

/// Writes one packet, of `count` pieces that a virtio header begins; without `has_header` all but that header, and of one
/// piece only. Returns 0 or -errno.
int linux_tun_write_pieces(int descriptor, int has_header, const struct iovec *pieces, int count);
