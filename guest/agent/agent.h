/* hanabi-init, the first process of every sandbox: it starts, signals, kills and reaps what the host names, and nothing else.
 *
 * One thread, one poll loop, no heap. The protocol is in docs/architecture.md, "Agent and sandbox".
 *   main.c     options, setup, the loop
 *   control.c  the control channel: messages in and out
 *   process.c  processes: start, signal, kill, reap
 * and in a microVM:
 *   initramfs.c  the first stage, for a kernel whose drivers are modules
 *   machine.c    the machine: mounts, identity, drives, memory
 *   channels.c   the three channels over vsock, connected anew after every restore
 *   relay.c      TCP connections of the runtime, carried to the host
 *   flow.c       bytes on their way from one descriptor to another
 */
#ifndef HANABI_AGENT_H
#define HANABI_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { PROTOCOL = 4 };

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
struct cursor { /* reads a message; `bad` once something was not there */
    uint8_t *at, *end;
    bool bad;
};
uint64_t take(struct cursor *c, int bytes);
char *take_string(struct cursor *c);
void control_hello(const int listeners[2], bool attach);
void control_connect(int fd); /* a host's connection, which takes the place of an earlier one */
void control_watch(void);
bool control_turn(void); /* false: the host has gone, or does not speak the protocol */
void control_send(uint8_t type, const void *body, size_t length);
bool control_flush(void);

/* process.c */
void process_setup(struct user user);
void process_start(uint8_t role, const char *cwd, char **argv, char **environment);
void process_signal(uint8_t role, int signum);
void process_kill_all(void);
bool process_killing(void);
pid_t process_of(uint8_t role); /* 0: none */
int process_patience_ms(void); /* how long the loop may sleep */
void process_watch(void);
void process_turn(void);
void process_end(void);

/* initramfs.c */
_Noreturn void initramfs_run(char **argv);

/* machine.c */
void machine_boot(struct user user);
bool machine_handle(uint8_t type, struct cursor *c);
enum look { LOOK_BRIEFLY, LOOK_INTO, LOOK_AT_DEATH }; /* what a kernel has to sum up it is not asked many times a second */
void machine_report_memory(enum look look);           /* to the host, if it has changed */
bool machine_join_group(void);         /* in the child, before it gives up its rights */

/* flow.c */
enum { FLOW_BUFFER = 16 * 1024 };
struct flow { /* read only when all that was read has been written */
    size_t start, end;
    uint64_t passed; /* bytes, since the last reset */
    bool ended, passed_on; /* `from` has ended; `to` has been told */
    char buffer[FLOW_BUFFER];
};
bool flow_wants_read(const struct flow *flow);
bool flow_wants_write(const struct flow *flow);
bool flow_move(struct flow *flow, int from, int to); /* false: the connection is broken */
void flow_reset(struct flow *flow);
int watch_flow(int fd, bool read, bool write);

/* channels.c */
enum channel { CHANNEL_CONTROL, CHANNEL_RUNTIME, CHANNEL_LOG, CHANNEL_RUNTIME_API, CHANNEL_EDGE };
struct place {
    bool given;
    unsigned cid;            /* the host's */
    uint32_t port;           /* of the control channel; the others follow */
    const char *unix_prefix; /* not null: unix sockets <prefix>_<port> stand in for vsock */
};
void channels_open(struct place place);
int channels_dial(enum channel channel);
void channels_nap(void); /* hang up: a snapshot is about to be made */
void channels_wake(void);
void channels_renew_runtime(void);
void channels_given(void);         /* a runtime has got something to do */
bool channels_before_answer(void); /* it has answered; true: what must be known before is, and the answer may go */
bool channels_log_behind(void);    /* an answer is held back meanwhile */
bool channels_runtime_read(uint64_t *bytes); /* by the runtime of its channel; false: nobody knows here */
void channels_watch(void);
int channels_patience_ms(void); /* how long the loop may sleep, -1: for ever */
bool channels_turn(void);

/* relay.c */
void relay_open(const int listeners[2]);
void relay_nap(void);
void relay_wake(void); /* dial again, and ask again what was not answered */
void relay_watch(void);
void relay_turn(void);

#endif
