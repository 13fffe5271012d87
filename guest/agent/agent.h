/* hanabi-init, the first process of every sandbox: it starts, signals, kills and reaps what the host names, and nothing else.
 *
 * One thread, one poll loop, no heap. The protocol is in docs/architecture.md, "Agent and sandbox".
 *   main.c     options, setup, the loop
 *   control.c  the control channel: messages in and out
 *   process.c  processes: start, signal, kill, reap
 *   relay.c    microVM only: the channels over vsock, and TCP connections carried over it
 */
#ifndef HANABI_AGENT_H
#define HANABI_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { PROTOCOL = 1 };

/* The channels' places in the agent. Whatever else it opens lies above. */
enum { CONTROL_FD = 3, RUNTIME_FD = 4, LOG_FD = 5 };

enum { ROLE_RUNTIME = 0, ROLE_COUNT = 11 };

struct user {
    bool given; /* else children keep the agent's ids (the `process` driver) */
    uid_t uid;
    gid_t gid;
};

/* main.c: the poll set is made anew for every turn of the loop. */
int watch(int fd, short events);
short ready(int slot);
_Noreturn void die(const char *what);

/* control.c */
void control_hello(const int listeners[2], bool attach);
void control_watch(void);
bool control_turn(void); /* false: the host has gone, or does not speak the protocol */
void control_send(uint8_t type, const void *body, size_t length);

/* process.c */
void process_setup(struct user user);
void process_start(uint8_t role, const char *cwd, char **argv, char **environment);
void process_signal(uint8_t role, int signum);
void process_kill_all(void);
bool process_killing(void);
int process_patience_ms(void); /* how long the loop may sleep */
void process_watch(void);
void process_turn(void);
void process_end(void);

/* relay.c */
struct dialer {
    unsigned cid;
    uint32_t port;            /* of the control channel; the others follow */
    const char *unix_prefix;  /* not null: a unix socket <prefix>_<port> is dialled, as Firecracker names its end */
};
enum channel { CHANNEL_CONTROL, CHANNEL_RUNTIME, CHANNEL_LOG, CHANNEL_RUNTIME_API, CHANNEL_EDGE };
void relay_open(struct dialer dialer);
void relay_listeners(const int listeners[2]);
void relay_watch(void);
bool relay_turn(void); /* false: the log channel has gone */

#endif
