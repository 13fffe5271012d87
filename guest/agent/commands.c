/* What the host's messages ask for, carried out. Anything unexpected ends the connection. */
#include "commands.h"
#include "agent.h"
#include "cgroup.h"
#include "channels.h"
#include "control.h"
#include "machine.h"
#include "message.h"
#include "process.h"
#include "relay.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>

/* A runtime channel that no process has had yet, for the next runtime: the host's, or in a microVM one of the agent's. */
static bool renew_runtime(void) {
    int fd = control_take_fd();
    if (control_is_inherited() && (fd < 0 || dup3(fd, RUNTIME_FD, O_CLOEXEC) < 0))
        return false;
    if (!control_is_inherited())
        channels_renew_runtime();
    if (fd >= 0)
        close(fd);
    control_send('c', NULL, 0);
    return true;
}

static int connect_to(uint16_t port, uint32_t *error) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    *error = 0;
    if (fd >= 0 && (connect(fd, (struct sockaddr *)&address, sizeof address) == 0 || errno == EINPROGRESS))
        return fd;
    *error = (uint32_t)errno;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Connects the host to a port of the sandbox's loopback: it gets the socket, in a microVM a connection over which it is relayed. */
static void connect_host(uint16_t port) {
    uint32_t error;
    int fd = connect_to(port, &error);
    if (fd >= 0 && !control_is_inherited() && !relay_connect(fd)) {
        error = EAGAIN;
        fd = -1;
    }
    bool sent = false;
    if (fd >= 0 && control_is_inherited()) {
        sent = control_send_fd('o', &error, sizeof error, fd);
        error = sent ? 0 : (uint32_t)errno;
        close(fd);
    }
    if (!sent)
        control_send('o', &error, sizeof error);
}

static void quiesce(void) {
    relay_quiesce();
    channels_quiesce();
    control_send('n', NULL, 0);
}

static bool execute_in_machine(const struct message *message) {
    switch (message->type) {
    case MESSAGE_IDENTIFY:
        machine_identify(message);
        return true;
    case MESSAGE_MOUNT_DRIVE:
        machine_mount_drive(message);
        return true;
    case MESSAGE_LIMIT_MEMORY:
        cgroup_limit_memory(message->limit.bytes);
        return true;
    case MESSAGE_RESET_PEAK:
        return cgroup_reset_peak();
    case MESSAGE_TRIM:
        machine_trim();
        return true;
    default:
        return false;
    }
}

/* An extension's output may have a pipe of its own, which comes along. */
static void start(const struct message *message) {
    int output = message->start.role == ROLE_RUNTIME ? -1 : control_take_fd();
    process_start(message->start.role, output, message->start.cwd, message->start.argv, message->start.environment);
    if (output >= 0)
        close(output);
}

static bool execute(const struct message *message) {
    switch (message->type) {
    case MESSAGE_START:
        start(message);
        return true;
    case MESSAGE_SIGNAL:
        process_signal(message->signal.role, message->signal.signum);
        return true;
    case MESSAGE_KILL_ALL:
        process_kill_all();
        return true;
    case MESSAGE_NEW_CHANNEL:
        return renew_runtime();
    case MESSAGE_QUIESCE:
        quiesce();
        return true;
    case MESSAGE_CONNECT:
        connect_host(message->connect.port);
        return true;
    case MESSAGE_PING:
        control_send('q', NULL, 0);
        return true;
    default:
        return machine_is_ours() && execute_in_machine(message);
    }
}

/* One after the other: while processes are killed, or an answer waits to be sent, the next message waits. */
static bool execute_all(void) {
    struct message message;
    if (!control_receive())
        return false;
    while (!process_is_killing() && !control_is_sending()) {
        enum next next = control_next(&message);
        if (next == NEXT_NONE)
            break;
        if (next == NEXT_MALFORMED || !execute(&message) || !control_flush())
            return false;
    }
    return true;
}

void commands_watch(void) { control_watch(process_is_killing()); }

bool commands_turn(void) {
    if (!control_is_connected() || execute_all())
        return true;
    if (control_is_inherited())
        return false;
    control_disconnect(); /* the host goes, or this machine was restored: the next connection begins anew */
    channels_resume();
    return true;
}
