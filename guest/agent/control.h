/* The control channel: bytes in and out. */
#ifndef HANABI_CONTROL_H
#define HANABI_CONTROL_H

#include "message.h"

/* Setup: `hello` names the listeners' ports. With `inherited`, CONTROL_FD is the host's one connection, which takes the listeners along;
 * else the host connects, once for each boot and restore. */
void control_setup(const int listeners[2], bool inherited);
void control_connect(int fd); /* a host's connection, which takes the place of an earlier one */
void control_disconnect(void);
bool control_is_connected(void);
bool control_is_inherited(void); /* then the end of the connection is the end of the sandbox */

void control_watch(bool paused); /* with `paused` nothing is read, but the host's hang-up is seen */
bool control_receive(void);      /* send what is queued and read what has come; false: the host has gone */
enum next { NEXT_NONE, NEXT_MESSAGE, NEXT_MALFORMED };
enum next control_next(struct message *into); /* what it points to holds until the next `control_receive` */
int control_take_fd(void);                    /* the descriptor that came along, now the caller's; -1: none did */

void control_send(uint8_t type, const void *body, size_t length); /* queued; dropped when no host is connected */
bool control_send_fd(uint8_t type, const void *body, size_t length, int fd); /* at once; not while something is queued. False: see errno */
bool control_flush(void);                                         /* false: the host has gone */
bool control_is_sending(void);                                    /* something is queued: the host has not read it yet */

#endif
