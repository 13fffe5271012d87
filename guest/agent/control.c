/* The control channel: `u32 length, u8 type, body`, little-endian. Anything unexpected ends the sandbox. */
#include "agent.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MESSAGE_MAX = 256 * 1024 };

static uint8_t in[4 + MESSAGE_MAX];
static size_t in_length;
static uint8_t out[8 * 1024]; /* what is owed is bounded: nothing is read while anything waits here */
static size_t out_length;
static int slot;
static bool connected; /* in a container always; in a microVM as long as a host's connection lasts */
static bool lasting;   /* in a container: the end of the connection is the end of the sandbox */
static int passed = -1;  /* a descriptor that came with a message */
static uint8_t greeting[9] = {5, 0, 0, 0, 'H'};

/* --- reading a message ------------------------------------------------------------------------------------------- */

uint64_t take(struct cursor *c, int bytes) {
    uint64_t value = 0;
    if (c->bad || c->end - c->at < bytes) {
        c->bad = true;
        return 0;
    }
    for (int i = 0; i < bytes; i++)
        value |= (uint64_t)*c->at++ << 8 * i;
    return value;
}

/* A string moves over its own length, which leaves room for its NUL: no copy, no heap. */
char *take_string(struct cursor *c) {
    uint32_t length = (uint32_t)take(c, 4);
    if (c->bad || length > (size_t)(c->end - c->at) || memchr(c->at, 0, length)) {
        c->bad = true;
        return NULL;
    }
    char *text = (char *)c->at - 4;
    memmove(text, c->at, length);
    text[length] = 0;
    c->at += length;
    return text;
}

static char **take_strings(struct cursor *c, char **into) {
    for (uint32_t count = (uint32_t)take(c, 2); count > 0 && !c->bad; count--)
        *into++ = take_string(c);
    *into++ = NULL;
    return into;
}

static bool start(struct cursor *c) {
    static char *strings[MESSAGE_MAX / 4 + 2]; /* a string takes at least the 4 bytes of its length */
    uint32_t role = (uint32_t)take(c, 1);
    char *cwd = take_string(c);
    char **environment = take_strings(c, strings);
    take_strings(c, environment);
    if (c->bad || c->at != c->end || role >= ROLE_COUNT)
        return false;
    process_start((uint8_t)role, cwd, strings, environment);
    return true;
}

/* A runtime channel that nobody has had yet, for the next runtime: the host's, or in a microVM one of ours. */
static bool renew_runtime(void) {
    if (lasting && (passed < 0 || dup3(passed, RUNTIME_FD, O_CLOEXEC) < 0))
        return false;
    if (!lasting)
        channels_renew_runtime();
    if (passed >= 0)
        close(passed);
    passed = -1;
    control_send('c', NULL, 0);
    return true;
}

static bool handle(uint8_t type, struct cursor *c) {
    switch (type) {
    case 'S':
        return start(c);
    case 'K':
        process_kill_all();
        return c->at == c->end;
    case 'C':
        return c->at == c->end && renew_runtime();
    case 'G': {
        uint32_t role = (uint32_t)take(c, 1), signum = (uint32_t)take(c, 1);
        if (c->bad || c->at != c->end || role >= ROLE_COUNT || signum == 0 || signum > 64)
            return false;
        process_signal((uint8_t)role, (int)signum);
        return true;
    }
    default:
        return machine_handle(type, c);
    }
}

/* --- in and out --------------------------------------------------------------------------------------------------- */

static bool waiting(void) { return out_length > 0 || process_killing(); }

bool control_flush(void) {
    while (connected && out_length > 0) {
        ssize_t sent = send(CONTROL_FD, out, out_length, MSG_NOSIGNAL);
        if (sent < 0)
            return errno == EAGAIN || errno == EINTR;
        out_length -= (size_t)sent;
        memmove(out, out + sent, out_length);
    }
    return true;
}

void control_send(uint8_t type, const void *body, size_t length) {
    if (!connected)
        return; /* nobody to tell: the host has gone, or restores us and asks anew */
    if (length > 1024 || out_length + 5 + length > sizeof out) {
        errno = ENOBUFS;
        die("control channel");
    }
    uint8_t head[5] = {(uint8_t)(length + 1), (uint8_t)((length + 1) >> 8), 0, 0, type};
    memcpy(out + out_length, head, sizeof head);
    if (length)
        memcpy(out + out_length + sizeof head, body, length);
    out_length += sizeof head + length;
}

void control_watch(void) {
    /* with nothing asked for, poll still tells that the host has hung up */
    slot = !connected ? -1 : watch(CONTROL_FD, out_length > 0 ? POLLOUT : waiting() ? 0 : POLLIN);
}

/* As `read`, and what descriptor comes along is kept: the last one. */
static ssize_t receive(void *into, size_t size) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } rights;
    struct iovec vector = {into, size};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &rights, .msg_controllen = sizeof rights};
    ssize_t got = recvmsg(CONTROL_FD, &message, MSG_CMSG_CLOEXEC);
    struct cmsghdr *header = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
        /* where there is room for one, alignment makes room for two */
        size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof passed;
        for (size_t index = 0; index < count; index++) {
            if (passed >= 0)
                close(passed);
            memcpy(&passed, CMSG_DATA(header) + index * sizeof passed, sizeof passed);
        }
    }
    return got;
}

static bool handle_messages(void) {
    size_t done = 0;
    bool good = true;
    while (good && !waiting() && in_length - done >= 4) {
        struct cursor c = {in + done, in + in_length, false};
        uint32_t length = (uint32_t)take(&c, 4);
        if (length < 1 || length > MESSAGE_MAX)
            return false;
        if ((size_t)(c.end - c.at) < length)
            break;
        c.end = c.at + length;
        done += 4 + length;
        uint8_t type = (uint8_t)take(&c, 1);
        good = handle(type, &c);
        good &= control_flush();
    }
    in_length -= done;
    memmove(in, in + done, in_length);
    return good;
}

static bool turn(void) {
    short events = ready(slot);
    if (!control_flush())
        return false;
    if (events & POLLIN) {
        ssize_t got = receive(in + in_length, sizeof in - in_length);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
            return false;
        if (got > 0)
            in_length += (size_t)got;
    } else if (events & (POLLHUP | POLLERR | POLLNVAL))
        return false;
    return handle_messages();
}

static void disconnect(void) {
    connected = false;
    in_length = out_length = 0;
}

bool control_turn(void) {
    if (!connected || turn())
        return true;
    if (lasting)
        return false;
    disconnect(); /* the host goes, or this is a clone: the next connection is another beginning */
    channels_wake();
    return true;
}

/* --- hello --------------------------------------------------------------------------------------------------------- */

void control_connect(int fd) {
    disconnect();
    if (dup3(fd, CONTROL_FD, O_CLOEXEC) < 0)
        die("dup");
    close(fd);
    connected = true;
    memcpy(out, greeting, out_length = sizeof greeting);
    control_flush();
}

void control_hello(const int listeners[2], bool attach) {
    for (int i = 0; i < 2; i++) {
        struct sockaddr_in address;
        socklen_t size = sizeof address;
        if (getsockname(listeners[i], (struct sockaddr *)&address, &size) < 0)
            die("getsockname");
        uint16_t port = ntohs(address.sin_port);
        greeting[5 + 2 * i] = (uint8_t)port;
        greeting[6 + 2 * i] = (uint8_t)(port >> 8);
    }
    if (!attach)
        return; /* it is said to whoever connects */
    connected = lasting = true;
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(2 * sizeof(int))];
    } rights = {0};
    struct iovec part = {greeting, sizeof greeting};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &rights, .msg_controllen = sizeof rights.space};
    rights.header = (struct cmsghdr){.cmsg_len = CMSG_LEN(2 * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&rights.header), listeners, 2 * sizeof(int));
    if (sendmsg(CONTROL_FD, &message, MSG_NOSIGNAL) != (ssize_t)sizeof greeting)
        die("hello");
}
