#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

/// A socket address of either family.
union address {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
};

/// Room for the control messages of one call: packet information of either family, and the size of segments, which
/// UDP_SEGMENT takes as 16 bits and UDP_GRO gives as an int.
union control {
  struct cmsghdr header;
  char v4[CMSG_SPACE(sizeof(struct in_pktinfo)) + CMSG_SPACE(sizeof(int))];
  char v6[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(int))];
};
