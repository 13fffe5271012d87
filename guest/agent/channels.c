/* The three channels of a microVM. The agent listens, for a listener survives a snapshot and a connection does not: whoever runs the
 * machine connects to it after each boot and each restore. Processes have a socket and a pipe of the agent's, which last.
 *
 * A restored kernel resets every connection it has a moment after it wakes, one that was just made too. So nobody is let in before the
 * control connection of the time before the snapshot has broken: then that is over. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { LISTENERS = 3 };

static struct place place;
static int listeners[LISTENERS], slots[LISTENERS];
static int runtime_inside, runtime_host = -1, runtime_slots[2];
static int log_pipe, log_host = -1, log_slots[2];
static struct flow runtime_out, runtime_in, log_flow;
static bool napping;
static bool busy; /* the runtime has been given something and has not answered yet */
static bool answering;     /* what was printed before an answer is on its way: the answer waits */
static uint64_t log_until; /* of `log_flow.passed`: then it may go */

/* --- addresses ----------------------------------------------------------------------------------------------------- */

union address {
    struct sockaddr any;
    struct sockaddr_vm vm;
    struct sockaddr_un local;
};

static socklen_t name(enum channel channel, unsigned cid, union address *address) {
    uint32_t port = place.port + (uint32_t)channel;
    memset(address, 0, sizeof *address);
    if (!place.unix_prefix) {
        address->vm = (struct sockaddr_vm){.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};
        return sizeof address->vm;
    }
    address->local.sun_family = AF_UNIX;
    int length = snprintf(address->local.sun_path, sizeof address->local.sun_path, "%s_%u", place.unix_prefix, port);
    if (length < 0 || length >= (int)sizeof address->local.sun_path) {
        errno = ENAMETOOLONG;
        return 0;
    }
    return sizeof address->local;
}

int channels_dial(enum channel channel) {
    union address address;
    socklen_t size = name(channel, place.cid, &address);
    int fd = size ? socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) : -1;
    if (fd >= 0 && connect(fd, &address.any, size) < 0 && errno != EINPROGRESS) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static int listen_at(enum channel channel) {
    union address address;
    socklen_t size = name(channel, VMADDR_CID_ANY, &address);
    int fd = size ? socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) : -1;
    if (fd < 0 || bind(fd, &address.any, size) < 0 || listen(fd, 4) < 0)
        die("listening to the host");
    return fd;
}

/* --- setup --------------------------------------------------------------------------------------------------------- */

static void make_runtime(void) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0 || dup3(ends[1], RUNTIME_FD, O_CLOEXEC) < 0 ||
        fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0)
        die("runtime channel");
    close(ends[1]);
    runtime_inside = ends[0];
}

void channels_open(struct place at) {
    int ends[2], null = open("/dev/null", O_RDWR | O_CLOEXEC);
    place = at;
    if (null < 0)
        die("/dev/null");
    for (int fd = CONTROL_FD; fd <= LOG_FD; fd++) /* what is opened next lies above the channels' places */
        if (dup3(null, fd, O_CLOEXEC) < 0 && null != fd)
            die("dup");
    for (int i = 0; i < LISTENERS; i++)
        listeners[i] = listen_at((enum channel)i);
    make_runtime();
    /* Processes write to a pipe: a socket cannot be opened as /dev/stdout. */
    if (pipe2(ends, O_CLOEXEC) < 0 || dup3(ends[1], LOG_FD, O_CLOEXEC) < 0)
        die("log channel");
    close(ends[1]);
    log_pipe = ends[0];
    if (fcntl(log_pipe, F_SETFL, O_NONBLOCK) < 0)
        die("channels");
}

/* --- connections --------------------------------------------------------------------------------------------------- */

static void hang_up(int *fd) {
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void forget_runtime(void) {
    hang_up(&runtime_host);
    flow_reset(&runtime_out);
    flow_reset(&runtime_in);
    answering = false;
}

void channels_renew_runtime(void) {
    busy = false;
    close(runtime_inside);
    forget_runtime(); /* the host connects again */
    make_runtime();
}

void channels_nap(void) {
    napping = true;
    forget_runtime();
    hang_up(&log_host); /* what was read of the log and not sent is sent after the restore */
}

void channels_wake(void) { napping = false; }

static void accept_one(enum channel channel) {
    union address from;
    socklen_t size = sizeof from;
    int fd = accept4(listeners[channel], &from.any, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    if (!place.unix_prefix && from.vm.svm_cid != place.cid) { /* somebody inside plays the host */
        close(fd);
        return;
    }
    switch (channel) {
    case CHANNEL_CONTROL:
        control_connect(fd);
        relay_wake(); /* it is awake, be it as a clone */
        break;
    case CHANNEL_RUNTIME:
        forget_runtime();
        runtime_host = fd;
        break;
    default:
        hang_up(&log_host);
        log_host = fd;
    }
}

void channels_watch(void) {
    if (!place.given)
        return;
    bool linked = runtime_host >= 0;
    for (int i = 0; i < LISTENERS; i++)
        slots[i] = napping ? -1 : watch(listeners[i], POLLIN);
    log_slots[0] = watch_flow(log_pipe, log_host >= 0 && flow_wants_read(&log_flow), false);
    log_slots[1] = watch_flow(log_host, false, flow_wants_write(&log_flow));
    runtime_slots[0] = watch_flow(runtime_inside, linked && flow_wants_read(&runtime_out) && !channels_log_behind(), linked && flow_wants_write(&runtime_in));
    runtime_slots[1] = watch_flow(runtime_host, flow_wants_read(&runtime_in), flow_wants_write(&runtime_out));
}

static void move_log(void) {
    if (log_host >= 0 && !flow_move(&log_flow, log_pipe, log_host))
        hang_up(&log_host);
}

void channels_given(void) { busy = true; }

bool channels_log_behind(void) { return answering && log_host >= 0 && log_flow.passed < log_until; }

/* What was printed before an answer reaches the host before it, and how much memory it took. What is printed later does not hold it. */
bool channels_before_answer(void) {
    busy = false;
    if (!answering) {
        int left = 0;
        ioctl(log_pipe, FIONREAD, &left);
        log_until = log_flow.passed + (log_flow.end - log_flow.start) + (uint64_t)left;
        answering = true;
    }
    for (int turn = 0; turn < 64 && channels_log_behind(); turn++) {
        uint64_t before = log_flow.passed;
        move_log();
        if (log_flow.passed == before)
            break; /* the host does not take more now */
    }
    if (channels_log_behind())
        return false;
    answering = false;
    machine_report_memory(LOOK_INTO);
    return true;
}

bool channels_runtime_read(uint64_t *bytes) {
    int left = 0;
    if (!place.given || ioctl(RUNTIME_FD, FIONREAD, &left) < 0)
        return false;
    *bytes = runtime_in.passed > (uint64_t)left ? runtime_in.passed - (uint64_t)left : 0;
    return true;
}

static void move_runtime(void) {
    if (ready(runtime_slots[1]) & POLLIN)
        channels_given();
    bool held = ready(runtime_slots[0]) & POLLIN && !channels_before_answer();
    if ((!held && !flow_move(&runtime_out, runtime_inside, runtime_host)) || !flow_move(&runtime_in, runtime_host, runtime_inside) || runtime_in.ended)
        forget_runtime();
}

/* One that is cut off gives no answer: its memory is told meanwhile. Whoever rests costs nothing. */
int channels_patience_ms(void) { return busy && !napping ? 250 : -1; }

bool channels_turn(void) {
    if (!place.given)
        return true;
    if (busy)
        machine_report_memory(LOOK_BRIEFLY);
    if (ready(log_slots[0]) || ready(log_slots[1]))
        move_log();
    if (runtime_host >= 0 && (ready(runtime_slots[0]) || ready(runtime_slots[1])))
        move_runtime();
    for (int i = 0; i < LISTENERS; i++)
        if (ready(slots[i]))
            accept_one((enum channel)i);
    return true;
}
