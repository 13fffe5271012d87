/* Feeds bytes to the agent's control-message parser: alone, and behind the control channel's framing.
 *
 *   fuzz-messages SECONDS SEED CORPUS...   mutate the corpus files until the time is over; prints how many inputs were tried
 *   fuzz-messages FILE                     try one input again
 *
 * Built with ASan and UBSan by `make -C guest/agent sanitize`. The same seed tries the same inputs in the same order. An input that ends
 * the process is left in the file `fuzz-messages.input` of the working directory. */
#include "agent.h"
#include "control.h"
#include "loop.h"
#include "message.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

enum { INPUT_MAX = 16 * 1024, CORPUS_MAX = 64, STALL_S = 20 };

struct input {
    size_t length;
    uint8_t bytes[INPUT_MAX];
};

static void check(bool holds, const char *what) {
    if (!holds) {
        dprintf(2, "fuzz-messages: %s\n", what);
        abort();
    }
}

/* --- what must hold of a message that was parsed -------------------------------------------------------------------- */

static void check_string(const char *text, const uint8_t *bytes, size_t length) {
    const uint8_t *at = (const uint8_t *)text;
    check(text && at >= bytes && at < bytes + length, "a string outside the message");
    check(memchr(at, 0, length - (size_t)(at - bytes)), "a string without an end");
}

static void check_message(const struct message *m, const uint8_t *bytes, size_t length) {
    switch (m->type) {
    case MESSAGE_START:
        check(m->start.role < ROLE_COUNT, "role");
        check_string(m->start.cwd, bytes, length);
        for (char **each = m->start.argv; *each; each++)
            check_string(*each, bytes, length);
        for (char **each = m->start.environment; *each; each++)
            check_string(*each, bytes, length);
        break;
    case MESSAGE_SIGNAL:
        check(m->signal.role < ROLE_COUNT && m->signal.signum >= 1 && m->signal.signum <= 64, "signal");
        break;
    case MESSAGE_IDENTIFY:
        check(m->identify.entropy_bytes >= ENTROPY_BYTES_MIN && m->identify.entropy_bytes <= ENTROPY_BYTES_MAX, "entropy");
        check(m->identify.entropy >= bytes && m->identify.entropy + m->identify.entropy_bytes <= bytes + length, "entropy outside");
        check_string(m->identify.hostname, bytes, length);
        break;
    case MESSAGE_MOUNT_DRIVE:
        check(m->drive.letter >= 'b' && m->drive.letter <= 'z', "letter");
        check_string(m->drive.file_system, bytes, length);
        check_string(m->drive.target, bytes, length);
        break;
    case MESSAGE_CONNECT:
        check(length == 3, "a port");
        break;
    default:
        check(length == (m->type == MESSAGE_LIMIT_MEMORY ? 9 : 1), "a body where none belongs");
    }
}

/* --- the parser alone ---------------------------------------------------------------------------------------------- */

/* On a copy of exactly its size, so that a read or a write past the end is seen. */
static bool parse_alone(const uint8_t *bytes, size_t length) {
    uint8_t *copy = malloc(length ? length : 1);
    struct message message;
    memcpy(copy, bytes, length);
    bool good = message_parse(copy, length, &message);
    if (good)
        check_message(&message, copy, length);
    free(copy);
    return good;
}

/* --- behind the framing -------------------------------------------------------------------------------------------- */

/* How many messages the frames hold before the first that is malformed. */
static int count_messages(const uint8_t *bytes, size_t length, bool *malformed) {
    int count = 0;
    *malformed = false;
    for (size_t at = 0; length - at >= 4;) {
        uint32_t size = bytes[at] | (uint32_t)bytes[at + 1] << 8 | (uint32_t)bytes[at + 2] << 16 | (uint32_t)bytes[at + 3] << 24;
        if (size >= 1 && size <= MESSAGE_BYTES_MAX && size > length - at - 4)
            break; /* its end has not come */
        if (size < 1 || size > MESSAGE_BYTES_MAX || !parse_alone(bytes + at + 4, size)) {
            *malformed = true;
            break;
        }
        at += 4 + size;
        count++;
    }
    return count;
}

static int host_fd = -1;

static void connect_host(void) {
    int ends[2];
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair");
    if (host_fd >= 0)
        close(host_fd);
    host_fd = fcntl(ends[0], F_DUPFD, LOG_FD + 1);
    int agent_fd = fcntl(ends[1], F_DUPFD, LOG_FD + 1);
    close(ends[0]);
    close(ends[1]);
    control_connect(agent_fd);
    uint8_t hello[9];
    check(read(host_fd, hello, sizeof hello) == (ssize_t)sizeof hello && hello[4] == 'H', "hello");
}

struct progress {
    int count;
    bool malformed;
};

/* One turn of the loop, which handles a few messages at most, as when the agent has to wait in between. */
static void take_turn(struct progress *progress, int timeout_ms, int messages_max) {
    struct message message;
    loop_begin_turn();
    control_watch(false);
    loop_wait(timeout_ms);
    check(control_receive(), "the channel broke");
    for (; messages_max > 0 && !progress->malformed; messages_max--) {
        enum next next = control_next(&message);
        if (next == NEXT_NONE)
            break;
        progress->malformed = next == NEXT_MALFORMED;
        progress->count += next == NEXT_MESSAGE;
    }
}

/* However the bytes are cut, the channel gives the same messages; when all bytes have come it gives the rest without any more. */
static void parse_stream(const struct input *input, uint32_t cuts) {
    struct progress seen = {0}, expected = {0};
    expected.count = count_messages(input->bytes, input->length, &expected.malformed);
    connect_host();
    for (size_t at = 0, size; at < input->length && !seen.malformed; at += size) {
        cuts = cuts * 1664525 + 1013904223;
        size = 1 + (cuts >> 8) % (input->length - at < 4096 ? input->length - at : 4096);
        check(write(host_fd, input->bytes + at, size) == (ssize_t)size, "write");
        take_turn(&seen, 0, (cuts >> 4) % 4);
    }
    alarm(STALL_S); /* ends the process where a message is there and nothing wakes the loop */
    while (seen.count < expected.count || seen.malformed != expected.malformed)
        take_turn(&seen, -1, 1);
    alarm(0);
    take_turn(&seen, 0, 1);
    check(seen.count == expected.count && seen.malformed == expected.malformed, "the framing depends on how the bytes are cut");
}

/* --- inputs -------------------------------------------------------------------------------------------------------- */

static uint64_t state;

static uint32_t random_below(uint32_t bound) { /* xorshift64* */
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)((state * 2685821657736338717ULL) >> 32) % bound;
}

/* Remove `removed` bytes at `at`, and make room for `added` there. */
static void replace(struct input *input, size_t at, size_t removed, size_t added) {
    if (input->length - removed + added > INPUT_MAX)
        return;
    memmove(input->bytes + at + added, input->bytes + at + removed, input->length - at - removed);
    input->length += added - removed;
}

static void mutate(struct input *input, const struct input *other) {
    static const uint8_t edges[] = {0, 1, 0x7f, 0x80, 0xff, 4, 16, 64};
    static const char types[] = "SGKCNQVDLZT";
    uint32_t length = (uint32_t)input->length, at = length ? random_below(length) : 0, room;
    switch (random_below(length ? 8 : 1)) {
    case 0: /* append a part of another one */
        room = INPUT_MAX - length < other->length ? INPUT_MAX - length : (uint32_t)other->length;
        if (room) {
            memcpy(input->bytes + length, other->bytes, room = 1 + random_below(room));
            input->length += room;
        }
        break;
    case 1:
        input->bytes[at] = (uint8_t)random_below(256);
        break;
    case 2:
        input->bytes[at] ^= (uint8_t)(1U << random_below(8));
        break;
    case 3:
        input->bytes[at] = edges[random_below(sizeof edges)];
        break;
    case 4:
        replace(input, at, 1 + random_below(length - at), 0);
        break;
    case 5: /* the bytes that are there twice, or what was in the buffer */
        replace(input, at, 0, 1 + random_below(16));
        break;
    case 6: /* a length of one of the bytes' own */
        if (length - at >= 4)
            memcpy(input->bytes + at, &(uint32_t){random_below(length + 8)}, 4);
        break;
    default: /* a whole frame, of whatever follows */
        if (length - at >= 5) {
            memcpy(input->bytes + at, &(uint32_t){length - at - 4}, 4);
            input->bytes[at + 4] = (uint8_t)types[random_below(sizeof types - 1)];
        }
    }
}

static void try(const struct input *input) {
    static int last = -1;
    if (last < 0)
        last = open("fuzz-messages.input", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    check(last >= 0 && pwrite(last, input->bytes, input->length, 0) == (ssize_t)input->length && ftruncate(last, (off_t)input->length) == 0,
          "fuzz-messages.input");
    parse_alone(input->bytes, input->length);
    parse_stream(input, (uint32_t)input->length);
}

static struct input corpus[CORPUS_MAX];

static void load(struct input *input, const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, input->bytes, INPUT_MAX);
    if (got < 0)
        die(path);
    close(fd);
    input->length = (size_t)got;
}

static double now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

int main(int argc, char **argv) {
    static struct input input;
    int count = argc - 3;
    unsigned long tried = 0;
    /* the channels' descriptors are taken, as in the agent */
    for (int fd = 3; fd <= LOG_FD; fd++)
        dup2(0, fd);
    if (argc == 2) {
        load(&input, argv[1]);
        parse_alone(input.bytes, input.length);
        parse_stream(&input, (uint32_t)input.length);
        return 0;
    }
    check(count >= 1 && count <= CORPUS_MAX, "usage: fuzz-messages SECONDS SEED CORPUS... | FILE");
    double end_s = now_s() + atof(argv[1]);
    state = strtoull(argv[2], NULL, 10) * 2 + 1;
    for (int i = 0; i < count; i++) {
        load(&corpus[i], argv[3 + i]);
        try(&corpus[i]);
    }
    for (; tried % 64 || now_s() < end_s; tried++) {
        input = corpus[random_below((uint32_t)count)];
        for (uint32_t times = 1 + random_below(6); times > 0; times--)
            mutate(&input, &corpus[random_below((uint32_t)count)]);
        try(&input);
    }
    printf("%lu inputs\n", tried);
    return 0;
}
