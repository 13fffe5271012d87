/* What the host's messages ask for, carried out. */
#ifndef HANABI_COMMANDS_H
#define HANABI_COMMANDS_H

#include <stdbool.h>

void commands_watch(void);
bool commands_turn(void); /* false: the host has gone, or does not speak the protocol, and the sandbox ends */

#endif
