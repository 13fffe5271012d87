/* The control channel: `u32 length, u8 type, body`, little-endian. */
#include "control.h"
#include "agent.h"
#include "loop.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

enum { HEAD_BYTES = 4, SENT_BODY_MAX = 1024 };

static uint8_t in[HEAD_BYTES + MESSAGE_BYTES_MAX];
static size_t in_start, in_end;
static uint8_t out[8 * 1024]; /* bounded, because no message is handled while anything waits here */
static size_t out_length;
static int slot;
static bool connected; /* with an inherited channel always; else as long as a host's connection lasts */
static bool inherited;
static int received_fd = -1;
static uint8_t hello[9] = {5, 0, 0, 0, 'H'};

/* --- out ----------------------------------------------------------------------------------------------------------- */

bool control_is_sending(void) { return out_length > 0; }

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
        return; /* the host has gone, or it restores the machine and asks anew */
    if (length > SENT_BODY_MAX || out_length + HEAD_BYTES + 1 + length > sizeof out) {
        errno = ENOBUFS;
        die("control channel");
    }
    uint8_t head[HEAD_BYTES + 1] = {(uint8_t)(length + 1), (uint8_t)((length + 1) >> 8), 0, 0, type};
    memcpy(out + out_length, head, sizeof head);
    if (length)
        memcpy(out + out_length + sizeof head, body, length);
    out_length += sizeof head + length;
}

bool control_send_fd(uint8_t type, const void *body, size_t length, int fd) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } rights = {0};
    uint8_t head[HEAD_BYTES + 1] = {(uint8_t)(length + 1), (uint8_t)((length + 1) >> 8), 0, 0, type};
    struct iovec parts[2] = {{head, sizeof head}, {(void *)(uintptr_t)body, length}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2, .msg_control = &rights, .msg_controllen = sizeof rights.space};
    rights.header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&rights.header), &fd, sizeof fd);
    return sendmsg(CONTROL_FD, &message, MSG_NOSIGNAL) == (ssize_t)(sizeof head + length);
}

/* --- in ------------------------------------------------------------------------------------------------------------ */

/* The length of the next message; 0: the head is not there yet. */
static uint32_t next_length(bool *malformed) {
    const uint8_t *at = in + in_start;
    if (in_end - in_start < HEAD_BYTES)
        return 0;
    uint32_t length = at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
    *malformed = length < 1 || length > MESSAGE_BYTES_MAX;
    return length;
}

static bool message_is_there(void) {
    bool malformed = false;
    uint32_t length = next_length(&malformed);
    return malformed || (length > 0 && in_end - in_start - HEAD_BYTES >= length);
}

enum next control_next(struct message *into) {
    bool malformed = false;
    if (!message_is_there())
        return NEXT_NONE;
    uint32_t length = next_length(&malformed);
    if (malformed || !message_parse(in + in_start + HEAD_BYTES, length, into))
        return NEXT_MALFORMED;
    in_start += HEAD_BYTES + length;
    return NEXT_MESSAGE;
}

int control_take_fd(void) {
    int fd = received_fd;
    received_fd = -1;
    return fd;
}

/* As `read`; of the descriptors that come along the last one is kept. */
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
        size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof received_fd;
        for (size_t index = 0; index < count; index++) {
            if (received_fd >= 0)
                close(received_fd);
            memcpy(&received_fd, CMSG_DATA(header) + index * sizeof received_fd, sizeof received_fd);
        }
    }
    return got;
}

static short wanted_events(bool paused) {
    if (control_is_sending())
        return POLLOUT;
    if (paused)
        return 0; /* poll still tells that the host has hung up */
    return message_is_there() ? POLLOUT : POLLIN; /* one that a pause has left here is handled before anything is read */
}

void control_watch(bool paused) { slot = connected ? loop_watch(CONTROL_FD, wanted_events(paused)) : -1; }

bool control_receive(void) {
    short events = loop_ready(slot);
    if (!control_flush())
        return false;
    in_end -= in_start;
    memmove(in, in + in_start, in_end);
    in_start = 0;
    if (events & POLLIN) {
        ssize_t got = receive(in + in_end, sizeof in - in_end);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
            return false;
        if (got > 0)
            in_end += (size_t)got;
    } else if (events & (POLLHUP | POLLERR | POLLNVAL))
        return false;
    return true;
}

/* --- connections --------------------------------------------------------------------------------------------------- */

bool control_is_connected(void) { return connected; }

bool control_is_inherited(void) { return inherited; }

void control_disconnect(void) {
    connected = false;
    in_start = in_end = out_length = 0;
}

void control_connect(int fd) {
    control_disconnect();
    if (dup3(fd, CONTROL_FD, O_CLOEXEC) < 0)
        die("dup");
    close(fd);
    connected = true;
    memcpy(out, hello, out_length = sizeof hello);
    control_flush();
}

static void send_hello(const int listeners[2]) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(2 * sizeof(int))];
    } rights = {0};
    struct iovec part = {hello, sizeof hello};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &rights, .msg_controllen = sizeof rights.space};
    rights.header = (struct cmsghdr){.cmsg_len = CMSG_LEN(2 * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&rights.header), listeners, 2 * sizeof(int));
    if (sendmsg(CONTROL_FD, &message, MSG_NOSIGNAL) != (ssize_t)sizeof hello)
        die("hello");
}

void control_setup(const int listeners[2], bool from_parent) {
    for (int i = 0; i < 2; i++) {
        struct sockaddr_in address;
        socklen_t size = sizeof address;
        if (getsockname(listeners[i], (struct sockaddr *)&address, &size) < 0)
            die("getsockname");
        uint16_t port = ntohs(address.sin_port);
        hello[5 + 2 * i] = (uint8_t)port;
        hello[6 + 2 * i] = (uint8_t)(port >> 8);
    }
    connected = inherited = from_parent;
    if (inherited)
        send_hello(listeners);
}
