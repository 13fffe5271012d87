/* The poll set, made anew for every turn of the loop. */
#ifndef HANABI_LOOP_H
#define HANABI_LOOP_H

void loop_begin_turn(void);
int loop_watch(int fd, short events); /* the descriptor's slot in this turn; -1 when the set is full */
void loop_wait(int timeout_ms);       /* until a descriptor is ready; -1: for ever */
short loop_ready(int slot);           /* the events of a slot; of slot -1 none */

#endif
