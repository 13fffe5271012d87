/* TCP connections of the processes of a microVM, carried to the host. */
#ifndef HANABI_RELAY_H
#define HANABI_RELAY_H

#include <stdbool.h>

void relay_open(const int listeners[2]); /* of the Runtime API and the AWS endpoint */
bool relay_connect(int guest);           /* carry this connection to the host, as one that it asked for; owns it. False: it cannot */
void relay_quiesce(void);                /* hang up: a snapshot is next */
void relay_resume(void);                 /* connect again, and send again the requests that were not answered */
void relay_watch(void);
void relay_turn(void);

#endif
