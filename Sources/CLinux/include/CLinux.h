#pragma once

// What Swift cannot import: macros that make ioctl numbers, control messages (CMSG_*), variadic functions. Every
// function here is as thin as that allows, and none keeps state.

#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

#include "confinement.h"
#include "datagrams.h"
#include "errors.h"
#include "process.h"
#include "interfaces.h"
#include "tun.h"
