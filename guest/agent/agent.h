/* hanabi-init, the first process of every sandbox: it starts, signals, kills and reaps processes for the host.
 *
 * One thread, one poll loop, no heap. The protocol is in docs/architecture.md, "Agent and sandbox"; which file uses which is there too,
 * and no file uses one that uses it (tests/structure/test_agent.py). Each file has a header of its own name. From the top down:
 *   main.c       options, setup, the order of one turn of the loop
 *   initramfs.c  microVM: the first stage, for a kernel whose drivers are modules
 *   commands.c   what the host's messages ask for, carried out
 *   machine.c    microVM: mounts, clock, name, network, drives
 *   process.c    the processes of the sandbox: start, signal, kill, reap
 *   child.c      what a new process does between fork and exec
 *   relay.c      microVM: TCP connections of the processes, carried to the host
 *   channels.c   microVM: the channels over vsock, connected anew after every restore
 *   cgroup.c     microVM: the memory of the sandbox's processes, limited and measured
 *   control.c    the control channel: bytes in and out
 *   flow.c       bytes copied from one descriptor to another
 *   files.c      microVM: small files whole, and mounts
 *   message.c    the host's messages, parsed
 *   loop.c       the poll set
 * This header has what all of them share.
 */
#ifndef HANABI_AGENT_H
#define HANABI_AGENT_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum { PROTOCOL_VERSION = 4 };

/* The channels' descriptors in the agent. Whatever else it opens lies above. */
enum { CONTROL_FD = 3, RUNTIME_FD = 4, LOG_FD = 5 };

enum { ROLE_RUNTIME = 0, ROLE_COUNT = 11 }; /* the others are extensions */

struct user {
    bool given; /* else children keep the agent's ids (the `process` driver) */
    uid_t uid;
    gid_t gid;
};

/* End the agent, and with it the sandbox: `what` could not be done, errno says why. */
static inline _Noreturn void die(const char *what) {
    dprintf(2, "hanabi-init: %s: %s\n", what, strerror(errno));
    _exit(70);
}

#endif
