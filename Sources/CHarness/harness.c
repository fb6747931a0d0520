#define _GNU_SOURCE
#include "CHarness.h"

#include <sched.h>

int harness_enter_network_namespace(int descriptor) {
  return setns(descriptor, CLONE_NEWNET);
}
