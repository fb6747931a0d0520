#pragma once

/// Moves the calling thread, and nobody else, into the network namespace behind `descriptor`. 0, or -1 with errno.
/// In C because glibc hides setns(2) behind _GNU_SOURCE, which Swift's view of the headers does not define.
int harness_enter_network_namespace(int descriptor);
