/* microVM only: the channels are vsock connections, and each TCP connection accepted inside is carried over one of its own. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

enum { RELAY_MAX = 64, BUFFER = 16 * 1024 };

/* Bytes on their way from one descriptor to another; read only when all that was read has been written. */
struct flow {
    size_t start, end;
    bool ended, passed_on; /* `from` has ended; `to` has been told */
    char buffer[BUFFER];
};

struct relay {
    bool used, connecting;
    int guest, host;
    int guest_slot, host_slot;
    struct flow out, in; /* guest to host, host to guest */
};

static struct dialer dialer;
static bool active;
static struct relay relays[RELAY_MAX];
static int listening[2];
static int listening_slots[2];
static int log_pipe, log_socket, log_slots[2];
static struct flow log_flow;

static int dial(enum channel channel, int flags) {
    uint32_t port = dialer.port + (uint32_t)channel;
    struct sockaddr_vm vm = {.svm_family = AF_VSOCK, .svm_cid = dialer.cid, .svm_port = port};
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    struct sockaddr *address = (struct sockaddr *)&vm;
    socklen_t size = sizeof vm;
    if (dialer.unix_prefix) {
        int length = snprintf(local.sun_path, sizeof local.sun_path, "%s_%u", dialer.unix_prefix, port);
        if (length < 0 || length >= (int)sizeof local.sun_path) {
            errno = ENAMETOOLONG;
            return -1;
        }
        address = (struct sockaddr *)&local;
        size = sizeof local;
    }
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd >= 0 && connect(fd, address, size) < 0 && errno != EINPROGRESS) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

/* --- setup --------------------------------------------------------------------------------------------------------- */

void relay_open(struct dialer to) {
    int channels[3], ends[2], from[3];
    dialer = to;
    active = true;
    for (int i = CHANNEL_CONTROL; i <= CHANNEL_LOG; i++) {
        int fd = dial((enum channel)i, 0);
        if (fd < 0)
            die("dialling the host");
        if ((channels[i] = fcntl(fd, F_DUPFD_CLOEXEC, LOG_FD + 1)) < 0)
            die("dup");
        close(fd);
    }
    /* Processes write to a pipe: a socket cannot be opened as /dev/stdout. */
    if (pipe2(ends, O_CLOEXEC) < 0 || (from[2] = fcntl(ends[1], F_DUPFD_CLOEXEC, LOG_FD + 1)) < 0 ||
        (log_pipe = fcntl(ends[0], F_DUPFD_CLOEXEC, LOG_FD + 1)) < 0)
        die("pipe");
    close(ends[0]);
    close(ends[1]);
    from[0] = channels[CHANNEL_CONTROL];
    from[1] = channels[CHANNEL_RUNTIME];
    log_socket = channels[CHANNEL_LOG];
    for (int i = 0; i < 3; i++) {
        if (dup3(from[i], CONTROL_FD + i, O_CLOEXEC) < 0)
            die("dup");
        close(from[i]);
    }
    if (fcntl(log_pipe, F_SETFL, O_NONBLOCK) < 0 || fcntl(log_socket, F_SETFL, O_NONBLOCK) < 0)
        die("log channel");
}

void relay_listeners(const int listeners[2]) { memcpy(listening, listeners, sizeof listening); }

/* --- flows --------------------------------------------------------------------------------------------------------- */

static bool wants_read(const struct flow *flow) { return !flow->ended && flow->start == flow->end; }

static bool wants_write(const struct flow *flow) { return flow->start < flow->end; }

static bool again(void) { return errno == EAGAIN || errno == EINTR; }

/* False when the connection is broken. */
static bool move(struct flow *flow, int from, int to) {
    if (wants_read(flow)) {
        ssize_t got = read(from, flow->buffer, sizeof flow->buffer);
        if (got < 0 && !again())
            return false;
        flow->start = 0;
        flow->end = got > 0 ? (size_t)got : 0;
        flow->ended = got == 0;
    }
    if (wants_write(flow)) {
        ssize_t put = write(to, flow->buffer + flow->start, flow->end - flow->start);
        if (put < 0 && !again())
            return false;
        flow->start += put > 0 ? (size_t)put : 0;
    }
    if (flow->ended && !flow->passed_on && !wants_write(flow)) {
        shutdown(to, SHUT_WR);
        flow->passed_on = true;
    }
    return true;
}

/* --- connections --------------------------------------------------------------------------------------------------- */

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
    int host = dial(channel, SOCK_NONBLOCK);
    if (host < 0) {
        close(guest);
        return;
    }
    relay->used = relay->connecting = true;
    relay->guest = guest;
    relay->host = host;
    relay->guest_slot = relay->host_slot = -1;
    relay->in.start = relay->in.end = relay->out.start = relay->out.end = 0;
    relay->in.ended = relay->in.passed_on = relay->out.ended = relay->out.passed_on = false;
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
    }
    if (!ready(relay->guest_slot) && !ready(relay->host_slot))
        return true;
    return move(&relay->out, relay->guest, relay->host) && move(&relay->in, relay->host, relay->guest) &&
           !(relay->in.passed_on && relay->out.passed_on);
}

/* A descriptor nothing is asked of is left out: poll would report its hang-up for ever. */
static int watch_flow(int fd, bool read, bool write) {
    return read || write ? watch(fd, (short)((read ? POLLIN : 0) | (write ? POLLOUT : 0))) : -1;
}

void relay_watch(void) {
    if (!active)
        return;
    for (int i = 0; i < 2; i++)
        listening_slots[i] = free_relay() ? watch(listening[i], POLLIN) : -1;
    log_slots[0] = watch_flow(log_pipe, wants_read(&log_flow), false);
    log_slots[1] = watch_flow(log_socket, false, wants_write(&log_flow));
    for (int i = 0; i < RELAY_MAX; i++) {
        struct relay *relay = &relays[i];
        if (!relay->used)
            continue;
        relay->guest_slot = relay->connecting ? -1 : watch_flow(relay->guest, wants_read(&relay->out), wants_write(&relay->in));
        relay->host_slot =
            relay->connecting ? watch(relay->host, POLLOUT) : watch_flow(relay->host, wants_read(&relay->in), wants_write(&relay->out));
    }
}

bool relay_turn(void) {
    if (!active)
        return true;
    for (int i = 0; i < RELAY_MAX; i++) {
        struct relay *relay = &relays[i];
        if (relay->used && !relay_one(relay)) {
            close(relay->guest);
            close(relay->host);
            relay->used = false;
        }
    }
    for (int i = 0; i < 2; i++)
        if (ready(listening_slots[i]))
            accept_one(listening[i], i ? CHANNEL_EDGE : CHANNEL_RUNTIME_API);
    return !(ready(log_slots[0]) || ready(log_slots[1])) || move(&log_flow, log_pipe, log_socket);
}
