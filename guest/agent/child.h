/* What a new process does between fork and exec. */
#ifndef HANABI_CHILD_H
#define HANABI_CHILD_H

#include "agent.h"

void child_setup(struct user user); /* in the agent, once */

/* Becomes the program. Returns the step that failed, errno set; `status` is then the descriptor that tells the agent. */
const char *child_exec(uint8_t role, int *status, int output, const char *cwd, char **argv, char **environment);

#endif
