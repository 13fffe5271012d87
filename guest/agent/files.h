/* Small files whole, and mounts: for a machine's setup. */
#ifndef HANABI_FILES_H
#define HANABI_FILES_H

#include <stdbool.h>
#include <stddef.h>

void write_file(const char *path, const char *text);        /* or end the agent */
bool read_file(const char *path, char *into, size_t size);  /* what fits, terminated; false: nothing could be read */
void mount_type(const char *type, const char *target, unsigned long flags, const char *data); /* or end the agent */

#endif
