/* Bytes on their way from one descriptor to another, through a bounded buffer. */
#include "agent.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

bool flow_wants_read(const struct flow *flow) { return !flow->ended && flow->start == flow->end; }

bool flow_wants_write(const struct flow *flow) { return flow->start < flow->end; }

void flow_reset(struct flow *flow) {
    flow->start = flow->end = 0;
    flow->passed = 0;
    flow->ended = flow->passed_on = false;
}

static bool again(void) { return errno == EAGAIN || errno == EINTR; }

bool flow_move(struct flow *flow, int from, int to) {
    if (flow_wants_read(flow)) {
        ssize_t got = read(from, flow->buffer, sizeof flow->buffer);
        if (got < 0 && !again())
            return false;
        flow->start = 0;
        flow->end = got > 0 ? (size_t)got : 0;
        flow->ended = got == 0;
    }
    if (flow_wants_write(flow)) {
        ssize_t put = write(to, flow->buffer + flow->start, flow->end - flow->start);
        if (put < 0 && !again())
            return false;
        flow->start += put > 0 ? (size_t)put : 0;
        flow->passed += put > 0 ? (uint64_t)put : 0;
    }
    if (flow->ended && !flow->passed_on && !flow_wants_write(flow)) {
        shutdown(to, SHUT_WR);
        flow->passed_on = true;
    }
    return true;
}

/* A descriptor nothing is asked of is left out: poll would report its hang-up for ever. */
int watch_flow(int fd, bool read, bool write) {
    return fd >= 0 && (read || write) ? watch(fd, (short)((read ? POLLIN : 0) | (write ? POLLOUT : 0))) : -1;
}
