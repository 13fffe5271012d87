/* The machine of a microVM: its mounts, clock, name, network and drives. */
#ifndef HANABI_MACHINE_H
#define HANABI_MACHINE_H

#include "agent.h"
#include "message.h"

void machine_setup(struct user user); /* what a kernel does not mount by itself */
bool machine_is_ours(void);           /* whether `machine_setup` was called */
void machine_identify(const struct message *message);
void machine_mount_drive(const struct message *message);
void machine_trim(void); /* give the host's memory back: what is only cached is not needed while nothing runs */

#endif
