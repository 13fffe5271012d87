/* Bytes copied from one descriptor to another, through a bounded buffer. */
#include "flow.h"
#include "loop.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

bool flow_wants_read(const struct flow *flow) { return !flow->at_eof && flow->start == flow->end; }

bool flow_wants_write(const struct flow *flow) { return flow->start < flow->end; }

void flow_reset(struct flow *flow) {
    flow->start = flow->end = 0;
    flow->written_bytes = 0;
    flow->at_eof = flow->eof_sent = false;
}

static bool try_again(void) { return errno == EAGAIN || errno == EINTR; }

bool flow_copy(struct flow *flow, int from, int to) {
    if (flow_wants_read(flow)) {
        ssize_t got = read(from, flow->buffer, sizeof flow->buffer);
        if (got < 0 && !try_again())
            return false;
        flow->start = 0;
        flow->end = got > 0 ? (size_t)got : 0;
        flow->at_eof = got == 0;
    }
    if (flow_wants_write(flow)) {
        ssize_t put = write(to, flow->buffer + flow->start, flow->end - flow->start);
        if (put < 0 && !try_again())
            return false;
        flow->start += put > 0 ? (size_t)put : 0;
        flow->written_bytes += put > 0 ? (uint64_t)put : 0;
    }
    if (flow->at_eof && !flow->eof_sent && !flow_wants_write(flow)) {
        shutdown(to, SHUT_WR);
        flow->eof_sent = true;
    }
    return true;
}

/* For one that is left in with no events poll would report its hang-up for ever. */
int flow_watch(int fd, bool read, bool write) {
    return fd >= 0 && (read || write) ? loop_watch(fd, (short)((read ? POLLIN : 0) | (write ? POLLOUT : 0))) : -1;
}
