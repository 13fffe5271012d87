/* The three channels of a microVM. The agent listens, because a listener survives a snapshot and a connection does not: the host connects
 * after each boot and each restore. Processes have a socket and a pipe of the agent's, which survive too.
 *
 * A restored kernel resets every connection it has a moment after it resumes, one that was just made too. So no connection is accepted
 * before the control connection from before the snapshot has broken. */
#include "channels.h"
#include "agent.h"
#include "cgroup.h"
#include "control.h"
#include "flow.h"
#include "loop.h"

#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { LISTENERS = 3, MEMORY_INTERVAL_MS = 250, LOG_COPIES_MAX = 64 };

static struct vsock_options options;
static int listeners[LISTENERS], slots[LISTENERS];
static int runtime_fd, runtime_host = -1, runtime_slots[2]; /* the agent's end of the runtime's socket; the host's connection */
static int log_pipe, log_host = -1, log_slots[2];
static struct flow runtime_out, runtime_in, log_flow;
static bool quiesced;
static bool working;         /* the runtime has been sent something and has not answered yet */
static bool answering;       /* an answer waits for the log that was written before it */
static uint64_t log_due_bytes; /* of `log_flow.written_bytes`: then the answer may go */

/* --- addresses ----------------------------------------------------------------------------------------------------- */

union address {
    struct sockaddr any;
    struct sockaddr_vm vm;
    struct sockaddr_un local;
};

static socklen_t address_of(enum channel channel, unsigned cid, union address *address) {
    uint32_t port = options.port + (uint32_t)channel;
    memset(address, 0, sizeof *address);
    if (!options.unix_prefix) {
        address->vm = (struct sockaddr_vm){.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};
        return sizeof address->vm;
    }
    address->local.sun_family = AF_UNIX;
    int length = snprintf(address->local.sun_path, sizeof address->local.sun_path, "%s_%u", options.unix_prefix, port);
    if (length < 0 || length >= (int)sizeof address->local.sun_path) {
        errno = ENAMETOOLONG;
        return 0;
    }
    return sizeof address->local;
}

int channels_dial(enum channel channel) {
    union address address;
    socklen_t size = address_of(channel, options.host_cid, &address);
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
    socklen_t size = address_of(channel, VMADDR_CID_ANY, &address);
    int fd = size ? socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) : -1;
    if (fd < 0 || bind(fd, &address.any, size) < 0 || listen(fd, 4) < 0)
        die("listening to the host");
    return fd;
}

/* --- setup --------------------------------------------------------------------------------------------------------- */

static void make_runtime_socket(void) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0 || dup3(ends[1], RUNTIME_FD, O_CLOEXEC) < 0 ||
        fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0)
        die("runtime channel");
    close(ends[1]);
    runtime_fd = ends[0];
}

void channels_open(struct vsock_options from) {
    int ends[2], null = open("/dev/null", O_RDWR | O_CLOEXEC);
    options = from;
    if (null < 0)
        die("/dev/null");
    for (int fd = CONTROL_FD; fd <= LOG_FD; fd++) /* what is opened next lies above the channels */
        if (dup3(null, fd, O_CLOEXEC) < 0 && null != fd)
            die("dup");
    for (int i = 0; i < LISTENERS; i++)
        listeners[i] = listen_at((enum channel)i);
    make_runtime_socket();
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

static void disconnect_runtime(void) {
    hang_up(&runtime_host);
    flow_reset(&runtime_out);
    flow_reset(&runtime_in);
    answering = false;
}

void channels_renew_runtime(void) {
    working = false;
    close(runtime_fd);
    disconnect_runtime(); /* the host connects again */
    make_runtime_socket();
}

void channels_quiesce(void) {
    quiesced = true;
    disconnect_runtime();
    hang_up(&log_host); /* what was read of the log and not sent is sent after the restore */
}

void channels_resume(void) { quiesced = false; }

static int accept_from_host(enum channel channel) {
    union address from;
    socklen_t size = sizeof from;
    int fd = accept4(listeners[channel], &from.any, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0 && !options.unix_prefix && from.vm.svm_cid != options.host_cid) /* a process inside plays the host */
        hang_up(&fd);
    return fd;
}

/* True: a host has connected to the control channel. */
static bool accept_one(enum channel channel) {
    int fd = accept_from_host(channel);
    if (fd < 0)
        return false;
    switch (channel) {
    case CHANNEL_CONTROL:
        control_connect(fd);
        return true;
    case CHANNEL_RUNTIME:
        disconnect_runtime();
        runtime_host = fd;
        return false;
    default:
        hang_up(&log_host);
        log_host = fd;
        return false;
    }
}

void channels_watch(void) {
    if (!options.given)
        return;
    bool connected = runtime_host >= 0;
    for (int i = 0; i < LISTENERS; i++)
        slots[i] = quiesced ? -1 : loop_watch(listeners[i], POLLIN);
    log_slots[0] = flow_watch(log_pipe, log_host >= 0 && flow_wants_read(&log_flow), false);
    log_slots[1] = flow_watch(log_host, false, flow_wants_write(&log_flow));
    runtime_slots[0] = flow_watch(runtime_fd, connected && flow_wants_read(&runtime_out) && !channels_is_log_pending(),
                                  connected && flow_wants_write(&runtime_in));
    runtime_slots[1] = flow_watch(runtime_host, flow_wants_read(&runtime_in), flow_wants_write(&runtime_out));
}

static void copy_log(void) {
    if (log_host >= 0 && !flow_copy(&log_flow, log_pipe, log_host))
        hang_up(&log_host);
}

void channels_begin_work(void) { working = true; }

bool channels_is_log_pending(void) { return answering && log_host >= 0 && log_flow.written_bytes < log_due_bytes; }

/* The log that was written before an answer reaches the host before it, and so does the memory that was used. */
bool channels_begin_answer(void) {
    working = false;
    if (!answering) {
        int unread_bytes = 0;
        ioctl(log_pipe, FIONREAD, &unread_bytes);
        log_due_bytes = log_flow.written_bytes + (log_flow.end - log_flow.start) + (uint64_t)unread_bytes;
        answering = true;
    }
    for (int turn = 0; turn < LOG_COPIES_MAX && channels_is_log_pending(); turn++) {
        uint64_t before = log_flow.written_bytes;
        copy_log();
        if (log_flow.written_bytes == before)
            break; /* the host does not take more now */
    }
    if (channels_is_log_pending())
        return false;
    answering = false;
    cgroup_report_memory(SCAN_FOOTPRINT);
    return true;
}

bool channels_count_runtime_read(uint64_t *bytes) {
    int unread_bytes = 0;
    if (!options.given || ioctl(RUNTIME_FD, FIONREAD, &unread_bytes) < 0)
        return false;
    *bytes = runtime_in.written_bytes > (uint64_t)unread_bytes ? runtime_in.written_bytes - (uint64_t)unread_bytes : 0;
    return true;
}

static void copy_runtime(void) {
    if (loop_ready(runtime_slots[1]) & POLLIN)
        channels_begin_work();
    bool held_back = loop_ready(runtime_slots[0]) & POLLIN && !channels_begin_answer();
    if ((!held_back && !flow_copy(&runtime_out, runtime_fd, runtime_host)) || !flow_copy(&runtime_in, runtime_host, runtime_fd) ||
        runtime_in.at_eof)
        disconnect_runtime();
}

/* A runtime that is killed in its work gives no answer, so its memory is reported meanwhile. An idle one costs nothing. */
int channels_timeout_ms(void) { return working && !quiesced ? MEMORY_INTERVAL_MS : -1; }

bool channels_turn(void) {
    bool host_connected = false;
    if (!options.given)
        return false;
    if (working)
        cgroup_report_memory(SCAN_PEAK);
    if (loop_ready(log_slots[0]) || loop_ready(log_slots[1]))
        copy_log();
    if (runtime_host >= 0 && (loop_ready(runtime_slots[0]) || loop_ready(runtime_slots[1])))
        copy_runtime();
    for (int i = 0; i < LISTENERS; i++)
        if (loop_ready(slots[i]))
            host_connected |= accept_one((enum channel)i);
    return host_connected;
}
