/* The host's messages, parsed: `u8 type, body`, little-endian. */
#include "message.h"
#include "agent.h"

struct cursor {
    uint8_t *at, *end;
    bool bad; /* something that was to be read was not there */
};

static uint64_t read_int(struct cursor *c, int bytes) {
    uint64_t value = 0;
    if (c->bad || c->end - c->at < bytes) {
        c->bad = true;
        return 0;
    }
    for (int i = 0; i < bytes; i++)
        value |= (uint64_t)*c->at++ << 8 * i;
    return value;
}

static uint8_t read_u8(struct cursor *c) { return (uint8_t)read_int(c, 1); }

static uint32_t read_u32(struct cursor *c) { return (uint32_t)read_int(c, 4); }

static uint64_t read_u64(struct cursor *c) { return read_int(c, 8); }

/* A string moves over its own length, which leaves room for its NUL: no copy, no heap. */
static char *read_string(struct cursor *c) {
    uint32_t length = read_u32(c);
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

/* Returns the place after the list's NULL. */
static char **read_strings(struct cursor *c, char **into) {
    for (uint32_t count = (uint32_t)read_int(c, 2); count > 0 && !c->bad; count--)
        *into++ = read_string(c);
    *into++ = NULL;
    return into;
}

static bool parse_start(struct cursor *c, struct message *m) {
    static char *strings[MESSAGE_BYTES_MAX / 4 + 2]; /* a string takes at least the 4 bytes of its length */
    m->start.role = read_u8(c);
    m->start.cwd = read_string(c);
    m->start.argv = strings;
    m->start.environment = read_strings(c, strings);
    read_strings(c, m->start.environment);
    return m->start.role < ROLE_COUNT;
}

static bool parse_signal(struct cursor *c, struct message *m) {
    m->signal.role = read_u8(c);
    m->signal.signum = read_u8(c);
    return m->signal.role < ROLE_COUNT && m->signal.signum >= 1 && m->signal.signum <= 64;
}

static bool parse_identify(struct cursor *c, struct message *m) {
    m->identify.unix_ns = read_u64(c);
    m->identify.entropy_bytes = (size_t)read_int(c, 2);
    m->identify.entropy = c->at;
    if (c->bad || m->identify.entropy_bytes < ENTROPY_BYTES_MIN || m->identify.entropy_bytes > ENTROPY_BYTES_MAX ||
        (size_t)(c->end - c->at) < m->identify.entropy_bytes)
        return false;
    c->at += m->identify.entropy_bytes;
    m->identify.address = read_u32(c);
    m->identify.mask = read_u32(c);
    m->identify.gateway = read_u32(c);
    m->identify.hostname = read_string(c);
    return true;
}

static bool parse_drive(struct cursor *c, struct message *m) {
    m->drive.letter = (char)read_u8(c);
    m->drive.writable = read_u8(c) != 0;
    m->drive.size_bytes = read_u64(c);
    m->drive.file_system = read_string(c);
    m->drive.target = read_string(c);
    return m->drive.letter >= 'b' && m->drive.letter <= 'z';
}

static bool parse_body(struct cursor *c, struct message *m) {
    switch (m->type) {
    case MESSAGE_START:
        return parse_start(c, m);
    case MESSAGE_SIGNAL:
        return parse_signal(c, m);
    case MESSAGE_IDENTIFY:
        return parse_identify(c, m);
    case MESSAGE_MOUNT_DRIVE:
        return parse_drive(c, m);
    case MESSAGE_LIMIT_MEMORY:
        m->limit.bytes = read_u64(c);
        return true;
    case MESSAGE_CONNECT:
        m->connect.port = (uint16_t)read_int(c, 2);
        return true;
    case MESSAGE_KILL_ALL:
    case MESSAGE_NEW_CHANNEL:
    case MESSAGE_QUIESCE:
    case MESSAGE_PING:
    case MESSAGE_RESET_PEAK:
    case MESSAGE_TRIM:
        return true; /* they have no body */
    default:
        return false;
    }
}

bool message_parse(uint8_t *bytes, size_t length, struct message *into) {
    struct cursor c = {bytes, bytes + length, length > MESSAGE_BYTES_MAX};
    into->type = read_u8(&c);
    return parse_body(&c, into) && !c.bad && c.at == c.end;
}
