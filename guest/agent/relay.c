/* microVM only: TCP connections that processes make to the Runtime API and the AWS endpoint, each carried to the host over one of its own. */
#include "agent.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RELAY_MAX = 64, QUESTION_MAX = 8 * 1024 };

struct relay {
    bool used, connecting;
    int guest, host;
    int guest_slot, host_slot;
    enum channel channel;
    struct flow out, in; /* guest to host, host to guest */
    size_t asked;        /* bytes of a question that nothing has been answered to yet; over QUESTION_MAX: not kept */
    char question[QUESTION_MAX];
};

static struct relay relays[RELAY_MAX];
static int listening[2] = {-1, -1};
static int listening_slots[2];
static bool napping;

void relay_open(const int listeners[2]) { memcpy(listening, listeners, sizeof listening); }

static struct relay *free_relay(void) {
    for (int i = 0; i < RELAY_MAX; i++)
        if (!relays[i].used)
            return &relays[i];
    return NULL;
}

static void accept_one(int listener, enum channel channel) {
    struct relay *relay = free_relay();
    if (!relay)
        return; /* it waits in the backlog */
    int guest = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (guest < 0)
        return;
    int host = channels_dial(channel);
    if (host < 0) {
        close(guest);
        return;
    }
    relay->used = relay->connecting = true;
    relay->guest = guest;
    relay->host = host;
    relay->guest_slot = relay->host_slot = -1;
    relay->channel = channel;
    relay->asked = 0;
    flow_reset(&relay->out);
    flow_reset(&relay->in);
}

static void end(struct relay *relay) {
    close(relay->guest);
    if (relay->host >= 0)
        close(relay->host);
    relay->used = false;
}

/* Keeps what is asked until the answer begins, so that it can be asked again after a restore. */
static bool move_out(struct relay *relay) {
    bool fresh = flow_wants_read(&relay->out);
    bool good = flow_move(&relay->out, relay->guest, relay->host);
    size_t got = fresh ? relay->out.end : 0;
    if (relay->asked + got <= QUESTION_MAX)
        memcpy(relay->question + relay->asked, relay->out.buffer, got);
    relay->asked += got;
    return good;
}

static bool move_in(struct relay *relay) {
    bool fresh = flow_wants_read(&relay->in);
    bool good = flow_move(&relay->in, relay->host, relay->guest);
    if (fresh && relay->in.end > 0)
        relay->asked = 0;
    return good;
}

static bool relay_one(struct relay *relay) {
    if (relay->connecting) {
        int error = 0;
        socklen_t size = sizeof error;
        if (!ready(relay->host_slot))
            return true;
        if (getsockopt(relay->host, SOL_SOCKET, SO_ERROR, &error, &size) < 0 || error)
            return false;
        relay->connecting = false;
        return true; /* to the next turn, which knows what there is to read */
    }
    if (!ready(relay->guest_slot) && !ready(relay->host_slot))
        return true;
    if (relay->channel == CHANNEL_RUNTIME_API && ready(relay->host_slot) & POLLIN)
        channels_given();
    bool held = relay->channel == CHANNEL_RUNTIME_API && ready(relay->guest_slot) & POLLIN && !channels_before_answer();
    return (held || move_out(relay)) && move_in(relay) && !(relay->in.passed_on && relay->out.passed_on);
}

/* --- snapshots ----------------------------------------------------------------------------------------------------- */

void relay_nap(void) {
    napping = true;
    for (int i = 0; i < RELAY_MAX; i++) {
        struct relay *relay = &relays[i];
        if (!relay->used)
            continue;
        close(relay->host);
        relay->host = -1;
        if (relay->asked > QUESTION_MAX || flow_wants_write(&relay->in))
            end(relay); /* in the middle of something that cannot be said again */
    }
}

void relay_wake(void) {
    napping = false;
    for (int i = 0; i < RELAY_MAX; i++) {
        struct relay *relay = &relays[i];
        if (!relay->used || relay->host >= 0)
            continue;
        bool ended = relay->out.ended;
        flow_reset(&relay->out);
        flow_reset(&relay->in);
        memcpy(relay->out.buffer, relay->question, relay->out.end = relay->asked);
        relay->out.ended = ended;
        relay->connecting = true;
        if ((relay->host = channels_dial(relay->channel)) < 0)
            end(relay);
    }
}

/* --- the loop ------------------------------------------------------------------------------------------------------ */

void relay_watch(void) {
    for (int i = 0; i < 2; i++)
        listening_slots[i] = listening[i] >= 0 && !napping && free_relay() ? watch(listening[i], POLLIN) : -1;
    for (int i = 0; i < RELAY_MAX; i++) {
        struct relay *relay = &relays[i];
        if (!relay->used || napping)
            continue;
        bool open = !relay->connecting;
        bool held = relay->channel == CHANNEL_RUNTIME_API && channels_log_behind();
        relay->guest_slot = watch_flow(relay->guest, open && !held && flow_wants_read(&relay->out), open && flow_wants_write(&relay->in));
        relay->host_slot =
            open ? watch_flow(relay->host, flow_wants_read(&relay->in), flow_wants_write(&relay->out)) : watch(relay->host, POLLOUT);
    }
}

void relay_turn(void) {
    if (napping)
        return;
    for (int i = 0; i < RELAY_MAX; i++)
        if (relays[i].used && !relay_one(&relays[i]))
            end(&relays[i]);
    for (int i = 0; i < 2; i++)
        if (ready(listening_slots[i]))
            accept_one(listening[i], i ? CHANNEL_EDGE : CHANNEL_RUNTIME_API);
}
