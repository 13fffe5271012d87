/* The processes of the sandbox: start, signal, kill, reap. */
#ifndef HANABI_PROCESS_H
#define HANABI_PROCESS_H

#include "agent.h"

void process_setup(struct user user);
void process_start(uint8_t role, int output, const char *cwd, char **argv, char **environment); /* output -1: the log pipe */
void process_signal(uint8_t role, int signum);
void process_kill_all(void);   /* told to the host when none is left */
bool process_is_killing(void); /* until then */
void process_watch(void);
int process_timeout_ms(void); /* how long the loop may wait; -1: for ever */
void process_turn(void);
void process_end(void); /* the host has gone: kill all, wait for them */

#endif
