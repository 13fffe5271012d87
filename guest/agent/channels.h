/* The channels of a microVM over vsock, connected anew after every restore. */
#ifndef HANABI_CHANNELS_H
#define HANABI_CHANNELS_H

#include <stdbool.h>
#include <stdint.h>

enum channel { CHANNEL_CONTROL, CHANNEL_RUNTIME, CHANNEL_LOG, CHANNEL_RUNTIME_API, CHANNEL_EDGE, CHANNEL_INBOUND };

struct vsock_options {
    bool given;
    unsigned host_cid;
    uint32_t port;           /* of the control channel; the others follow */
    const char *unix_prefix; /* not NULL: unix sockets <prefix>_<port> instead of vsock */
};

void channels_open(struct vsock_options options);
int channels_dial(enum channel channel); /* a connection to the host, in progress; -1: errno says why not */
void channels_quiesce(void);             /* hang up, and let nobody in: a snapshot is next */
void channels_resume(void);
void channels_renew_runtime(void); /* another socket for the next runtime; the host connects again */

void channels_begin_work(void);  /* the runtime has been sent something */
bool channels_begin_answer(void); /* it answers; false: the answer must wait for the log that was written before it */
bool channels_is_log_pending(void); /* an answer waits */
bool channels_count_runtime_read(uint64_t *bytes); /* read by the runtime, since its channel was opened; false: it is not known here */

void channels_watch(void);
int channels_timeout_ms(void); /* how long the loop may wait; -1: for ever */
bool channels_turn(void);      /* true: a host has connected to the control channel */

#endif
