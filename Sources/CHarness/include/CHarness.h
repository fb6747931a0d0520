#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

/// Moves the calling thread, and nobody else, into the network namespace behind `descriptor`. 0, or -1 with errno.
/// In C because glibc hides setns(2) behind _GNU_SOURCE, which Swift's view of the headers does not define.
int harness_enter_network_namespace(int descriptor);

/// Gives the calling thread, and no other, a new network and mounts of its own. 0, or -1 with errno.
int harness_leave_machine(void);

/// Mounts an empty file system in memory over `directory`, with `options` as mount(8) has them. 0, or -1 with errno.
int harness_mount_memory(const char *directory, const char *options);

/// A UDP socket that may send from addresses that are not this machine's. A descriptor, or -1 with errno.
int harness_spoofing_socket(int is_ipv6);

/// What an attacker sends, from where and how fast. The arrays belong to the caller and outlive the flood.
struct harness_flood {
  const int *sockets;
  int socket_count;
  const struct iovec *datagrams;
  int datagram_count;
  /// Addresses to send from, IPv4 in the first four bytes, each datagram from the next one. None: the sockets' own.
  const struct in6_addr *sources;
  int source_count;
  const struct sockaddr *target;
  socklen_t target_length;
  /// Datagrams a second, and how many at most (0: until stopped).
  long rate;
  long limit;
  // Read and written through the functions below while the flood runs.
  int stops;
  long sent;
  long bytes;
};

/// Sends until `limit` or `harness_stop`; takes the calling thread for that long.
void harness_send_flood(struct harness_flood *flood);
void harness_stop(struct harness_flood *flood);
/// Datagrams that the network took so far, and the bytes in them.
long harness_sent(struct harness_flood *flood);
long harness_sent_bytes(struct harness_flood *flood);

/// UDP_SEGMENT, which Swift's view of the headers does not have.
enum { HARNESS_UDP_SEGMENT = 103 };

/// One sender of a trial: datagrams, the trial's number first, at a steady pace through a connected socket.
struct harness_load {
  int socket;
  unsigned long trial;
  /// Their sizes, one after the other and from the beginning again; more than one for flows only.
  const size_t *sizes;
  int size_count;
  /// Flows that they are of in turn, each from a port of its own; then the socket is a raw one for UDP over IPv4, and a
  /// datagram has at least 16 bytes. 0: from the socket's own port.
  int flows;
  /// Datagrams that the kernel is handed as one piece, which it cuts itself where the socket has UDP_SEGMENT; else 1.
  int run;
  /// Datagrams a second.
  double rate;
  /// Nanoseconds.
  long duration;
  // What came of it: datagrams that the system took, and in how many nanoseconds.
  long sent;
  long elapsed;
};

/// Sends for the load's duration; takes the calling thread for that long.
void harness_send_load(struct harness_load *load);

/// Where a trial's datagrams arrive. Others', of earlier trials for example, are not counted.
struct harness_count {
  int socket;
  unsigned long trial;
  /// 0: whatever their sizes.
  size_t size;
  /// Room for the milliseconds that flows' datagrams were under way, and for how many. May be none.
  double *delays;
  long delay_count;
  // Read and written through the functions below while the count runs.
  int stops;
  long received;
};

/// Counts until it is stopped; takes the calling thread for that long.
void harness_count_load(struct harness_count *count);
long harness_received(struct harness_count *count);
void harness_stop_counting(struct harness_count *count);

/// Sends `count` echo requests of 64 bytes through a connected ICMP datagram socket, the next one `interval` nanoseconds
/// after the last or when its answer is there, whichever is later, and gives each up after `patience` nanoseconds.
/// Writes each answered one's time and returns how many there are.
int harness_round_trips(int socket, int is_ipv6, int count, long interval, long patience, double *milliseconds);

/// Clients that each ask one question at a time, and the next one when they have the answer, as programs ask a resolver.
struct harness_questions {
  /// Connected datagram sockets, a client each.
  const int *sockets;
  int count;
  /// Bytes of a question.
  size_t size;
  /// Nanoseconds.
  long duration;
  /// Room for the milliseconds until an answer, and for how many.
  double *delays;
  long delay_count;
  // What came of it: questions answered, those asked again since no answer came in half a second, and nanoseconds.
  long answered;
  long repeated;
  long elapsed;
};

/// Asks for the duration; takes the calling thread for that long.
void harness_ask(struct harness_questions *questions);

/// Who answers, with `size` bytes.
struct harness_answers {
  int socket;
  size_t size;
  // Written through the function below.
  int stops;
};

/// Answers until it is stopped; takes the calling thread for that long.
void harness_answer(struct harness_answers *answers);
void harness_stop_answering(struct harness_answers *answers);
