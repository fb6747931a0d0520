#pragma once

/// The interface's MTU in bytes, or -errno.
int linux_interface_mtu(const char *name);

/// Sets it. Returns 0 or -errno.
int linux_set_interface_mtu(const char *name, int mtu);

/// The interface's flags (IFF_UP …), or -errno.
int linux_interface_flags(const char *name);

/// A non-blocking socket on which the kernel tells of every change to links, addresses, routes and
/// rules. Returns a descriptor or -errno.
int linux_link_monitor(void);

/// What `linux_drain_monitor` found to have changed.
enum {
  LINUX_CHANGED_LINKS = 1,
  LINUX_CHANGED_ROUTES = 2,
  LINUX_CHANGED_OWN_ROUTES = 4,
};

/// Takes all that a monitor has to tell. Returns what changed: links or addresses; routes or rules, of which some may lead
/// through the interface `index`. Where the kernel lost some of it, everything may have.
int linux_drain_monitor(int descriptor, unsigned index);
