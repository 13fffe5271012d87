/* The poll set, made anew for every turn of the loop. */
#include "loop.h"
#include "agent.h"

#include <poll.h>

enum { WATCHED_MAX = 256 };

static struct pollfd watched[WATCHED_MAX];
static int watched_count;

void loop_begin_turn(void) { watched_count = 0; }

int loop_watch(int fd, short events) {
    if (watched_count == WATCHED_MAX)
        return -1;
    watched[watched_count] = (struct pollfd){.fd = fd, .events = events};
    return watched_count++;
}

void loop_wait(int timeout_ms) {
    if (poll(watched, (nfds_t)watched_count, timeout_ms) < 0 && errno != EINTR)
        die("poll");
}

short loop_ready(int slot) { return slot < 0 ? 0 : watched[slot].revents; }
