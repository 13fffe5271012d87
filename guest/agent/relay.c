/* TCP connections of the processes of a microVM to the Runtime API and the AWS endpoint, each carried to the host over one of its own. */
#include "relay.h"
#include "channels.h"
#include "flow.h"
#include "loop.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RELAY_MAX = 64, REQUEST_BYTES_MAX = 8 * 1024 };

struct relay {
    bool used, connecting;
    int guest, host;
    int guest_slot, host_slot;
    enum channel channel;
    struct flow out, in; /* guest to host, host to guest */
    size_t request_bytes; /* of a request that has no answer yet; over REQUEST_BYTES_MAX: not kept */
    char request[REQUEST_BYTES_MAX];
};

static struct relay relays[RELAY_MAX];
static int listening[2] = {-1, -1};
static int listening_slots[2];
static bool quiesced;

void relay_open(const int listeners[2]) { memcpy(listening, listeners, sizeof listening); }

static struct relay *free_relay(void) {
    for (int i = 0; i < RELAY_MAX; i++)
        if (!relays[i].used)
            return &relays[i];
    return NULL;
}

static bool begin(int guest, enum channel channel) {
    struct relay *relay = free_relay();
    int host = relay ? channels_dial(channel) : -1;
    if (host < 0) {
        close(guest);
        return false;
    }
    relay->used = relay->connecting = true;
    relay->guest = guest;
    relay->host = host;
    relay->guest_slot = relay->host_slot = -1;
    relay->channel = channel;
    relay->request_bytes = 0;
    flow_reset(&relay->out);
    flow_reset(&relay->in);
    return true;
}

bool relay_connect(int guest) {
    if (!quiesced)
        return begin(guest, CHANNEL_INBOUND);
    close(guest);
    return false;
}

static void accept_one(int listener, enum channel channel) {
    if (!free_relay())
        return; /* it waits in the backlog */
    int guest = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (guest >= 0)
        begin(guest, channel);
}

static void close_relay(struct relay *relay) {
    close(relay->guest);
    if (relay->host >= 0)
        close(relay->host);
    relay->used = false;
}

/* Keeps a request until the answer begins, so that it can be sent again after a restore. */
static bool copy_out(struct relay *relay) {
    bool fresh = flow_wants_read(&relay->out);
    bool good = flow_copy(&relay->out, relay->guest, relay->host);
    size_t got = fresh ? relay->out.end : 0;
    if (relay->request_bytes + got <= REQUEST_BYTES_MAX)
        memcpy(relay->request + relay->request_bytes, relay->out.buffer, got);
    relay->request_bytes += got;
    return good;
}

static bool copy_in(struct relay *relay) {
    bool fresh = flow_wants_read(&relay->in);
    bool good = flow_copy(&relay->in, relay->host, relay->guest);
    if (fresh && relay->in.end > 0)
        relay->request_bytes = 0;
    return good;
}

static bool copy_one(struct relay *relay) {
    if (relay->connecting) {
        int error = 0;
        socklen_t size = sizeof error;
        if (!loop_ready(relay->host_slot))
            return true;
        if (getsockopt(relay->host, SOL_SOCKET, SO_ERROR, &error, &size) < 0 || error)
            return false;
        relay->connecting = false;
        return true; /* the next turn knows what there is to read */
    }
    if (!loop_ready(relay->guest_slot) && !loop_ready(relay->host_slot))
        return true;
    if (relay->channel == CHANNEL_RUNTIME_API && loop_ready(relay->host_slot) & POLLIN)
        channels_begin_work();
    bool held_back = relay->channel == CHANNEL_RUNTIME_API && loop_ready(relay->guest_slot) & POLLIN && !channels_begin_answer();
    return (held_back || copy_out(relay)) && copy_in(relay) && !(relay->in.eof_sent && relay->out.eof_sent);
}

/* --- snapshots ----------------------------------------------------------------------------------------------------- */

void relay_quiesce(void) {
    quiesced = true;
    for (int i = 0; i < RELAY_MAX; i++) {
        struct relay *relay = &relays[i];
        if (!relay->used)
            continue;
        close(relay->host);
        relay->host = -1;
        if (relay->channel == CHANNEL_INBOUND || relay->request_bytes > REQUEST_BYTES_MAX || flow_wants_write(&relay->in))
            close_relay(relay); /* in the middle of what cannot be sent again */
    }
}

void relay_resume(void) {
    quiesced = false;
    for (int i = 0; i < RELAY_MAX; i++) {
        struct relay *relay = &relays[i];
        if (!relay->used || relay->host >= 0)
            continue;
        bool at_eof = relay->out.at_eof;
        flow_reset(&relay->out);
        flow_reset(&relay->in);
        memcpy(relay->out.buffer, relay->request, relay->out.end = relay->request_bytes);
        relay->out.at_eof = at_eof;
        relay->connecting = true;
        if ((relay->host = channels_dial(relay->channel)) < 0)
            close_relay(relay);
    }
}

/* --- the loop ------------------------------------------------------------------------------------------------------ */

void relay_watch(void) {
    for (int i = 0; i < 2; i++)
        listening_slots[i] = listening[i] >= 0 && !quiesced && free_relay() ? loop_watch(listening[i], POLLIN) : -1;
    for (int i = 0; i < RELAY_MAX; i++) {
        struct relay *relay = &relays[i];
        if (!relay->used || quiesced)
            continue;
        bool open = !relay->connecting;
        bool held_back = relay->channel == CHANNEL_RUNTIME_API && channels_is_log_pending();
        relay->guest_slot = flow_watch(relay->guest, open && !held_back && flow_wants_read(&relay->out), open && flow_wants_write(&relay->in));
        relay->host_slot =
            open ? flow_watch(relay->host, flow_wants_read(&relay->in), flow_wants_write(&relay->out)) : loop_watch(relay->host, POLLOUT);
    }
}

void relay_turn(void) {
    if (quiesced)
        return;
    for (int i = 0; i < RELAY_MAX; i++)
        if (relays[i].used && !copy_one(&relays[i]))
            close_relay(&relays[i]);
    for (int i = 0; i < 2; i++)
        if (loop_ready(listening_slots[i]))
            accept_one(listening[i], i ? CHANNEL_EDGE : CHANNEL_RUNTIME_API);
}
