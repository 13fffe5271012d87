/* The host's messages, parsed: `u8 type, body`, little-endian. No input or output here: tests/fuzz feeds it any bytes. */
#ifndef HANABI_MESSAGE_H
#define HANABI_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MESSAGE_BYTES_MAX = 256 * 1024, ENTROPY_BYTES_MIN = 16, ENTROPY_BYTES_MAX = 256 };

enum message_type {
    MESSAGE_START = 'S',
    MESSAGE_SIGNAL = 'G',
    MESSAGE_KILL_ALL = 'K',
    MESSAGE_NEW_CHANNEL = 'C',
    MESSAGE_QUIESCE = 'N',
    MESSAGE_PING = 'Q',
    MESSAGE_CONNECT = 'O',
    MESSAGE_IDENTIFY = 'V',
    MESSAGE_MOUNT_DRIVE = 'D',
    MESSAGE_LIMIT_MEMORY = 'L',
    MESSAGE_RESET_PEAK = 'Z',
    MESSAGE_TRIM = 'T',
};

struct message { /* what it points to is in the bytes that were parsed, and in one array that the next message uses again */
    uint8_t type; /* an `enum message_type` */
    union {
        struct {
            uint8_t role; /* below ROLE_COUNT */
            const char *cwd;
            char **argv, **environment; /* both end with NULL */
        } start;
        struct {
            uint8_t role; /* below ROLE_COUNT */
            int signum;   /* 1 to 64 */
        } signal;
        struct {
            uint64_t unix_ns;
            const uint8_t *entropy;
            size_t entropy_bytes;
            uint32_t address, mask, gateway; /* IPv4, in host order; address 0: no network */
            const char *hostname;
        } identify;
        struct {
            char letter; /* of /dev/vd?, 'b' to 'z' */
            bool writable;
            uint64_t size_bytes;
            const char *file_system, *target;
        } drive;
        struct {
            uint64_t bytes;
        } limit;
        struct {
            uint16_t port;
        } connect;
    };
};

/* Strings in `bytes` are moved and terminated in place. False: not a message of the protocol. */
bool message_parse(uint8_t *bytes, size_t length, struct message *into);

#endif
