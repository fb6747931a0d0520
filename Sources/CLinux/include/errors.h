#pragma once

/// A raw socket that sends ICMP or ICMPv6 messages and receives nothing. Returns a descriptor or -errno.
int linux_error_socket(int is_ipv6);
