/* Bytes copied from one descriptor to another, through a bounded buffer. */
#ifndef HANABI_FLOW_H
#define HANABI_FLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FLOW_BUFFER_BYTES = 16 * 1024 };

struct flow { /* read only when all that was read has been written */
    size_t start, end;
    uint64_t written_bytes; /* since the last reset */
    bool at_eof, eof_sent;  /* the source has ended; its end has been passed on */
    char buffer[FLOW_BUFFER_BYTES];
};

bool flow_wants_read(const struct flow *flow);
bool flow_wants_write(const struct flow *flow);
bool flow_copy(struct flow *flow, int from, int to); /* one read and one write at most; false: the connection is broken */
void flow_reset(struct flow *flow);
int flow_watch(int fd, bool read, bool write); /* as `loop_watch`; a descriptor of which nothing is asked is left out */

#endif
