#define _GNU_SOURCE
#include "tun.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/// Bytes of `struct virtio_net_hdr`, in the machine's own order unless somebody asks for another.
enum { HEADER_LENGTH = 10 };

int linux_tun_open(const char *name, int has_header) {
  int descriptor = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (descriptor < 0) return -errno;
  struct ifreq request;
  memset(&request, 0, sizeof request);
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  request.ifr_flags = (short)(IFF_TUN | IFF_NO_PI | (has_header ? IFF_VNET_HDR : 0));
  const int length = HEADER_LENGTH;
  if (ioctl(descriptor, TUNSETIFF, &request) != 0
      || (has_header && ioctl(descriptor, TUNSETVNETHDRSZ, &length) != 0)) {
    int error = errno;
    close(descriptor);
    return -error;
  }
  // A persistent interface has kept the offloads of who had it before.
  if (!has_header) ioctl(descriptor, TUNSETOFFLOAD, 0ul);
  return descriptor;
}

int linux_tun_has_header(int descriptor) {
  struct ifreq request;
  int length;
  memset(&request, 0, sizeof request);
  if (ioctl(descriptor, TUNGETIFF, &request) != 0) return -errno;
  // Whether there is packet information can't be asked: IFF_NO_PI is told as set where there is no filter (IFF_NOFILTER).
  if (!(request.ifr_flags & IFF_TUN)) return -EPROTONOSUPPORT;
  if (!(request.ifr_flags & IFF_VNET_HDR)) return 0;
  if (ioctl(descriptor, TUNGETVNETHDRSZ, &length) != 0) return -errno;
  return length == HEADER_LENGTH ? 1 : -EPROTONOSUPPORT;
}

int linux_tun_set_offloads(int descriptor, unsigned offloads) {
  return ioctl(descriptor, TUNSETOFFLOAD, (unsigned long)offloads) == 0 ? 0 : -errno;
}

int linux_tun_name(int descriptor, char *name) {
  struct ifreq request;
  memset(&request, 0, sizeof request);
  if (ioctl(descriptor, TUNGETIFF, &request) != 0) return -errno;
  memcpy(name, request.ifr_name, IFNAMSIZ);
  return 0;
}

#ifndef TUNGETDEVNETNS
#define TUNGETDEVNETNS _IO('T', 227)
#endif

int linux_tun_namespace(int descriptor) {
  int namespace = ioctl(descriptor, TUNGETDEVNETNS);
  return namespace < 0 ? -errno : namespace;
}

#ifndef TUNSETCARRIER
#define TUNSETCARRIER _IOW('T', 226, int)
#endif

int linux_tun_set_carrier(int descriptor, int has_carrier) {
  return ioctl(descriptor, TUNSETCARRIER, &has_carrier) == 0 ? 0 : -errno;
}

int linux_tun_write(int descriptor, int has_header, const void *packet, size_t length) {
  static const char nothing[HEADER_LENGTH];
  const struct iovec pieces[2] = {{(void *)nothing, HEADER_LENGTH}, {(void *)packet, length}};
  return writev(descriptor, has_header ? pieces : pieces + 1, has_header ? 2 : 1) < 0 ? -errno : 0;
}

int linux_tun_write_pieces(int descriptor, int has_header, const struct iovec *pieces, int count) {
  if (has_header) return writev(descriptor, pieces, count) < 0 ? -errno : 0;
  // More pieces than one are more packets than one.
  if (count != 1 || pieces->iov_len <= HEADER_LENGTH) return -EINVAL;
  return linux_tun_write(descriptor, 0, (const char *)pieces->iov_base + HEADER_LENGTH, pieces->iov_len - HEADER_LENGTH);
}
