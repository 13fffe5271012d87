/* Small files whole, and mounts: for a machine's setup. */
#include "files.h"
#include "agent.h"

#include <fcntl.h>
#include <sys/mount.h>

void write_file(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0444);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        die(path);
    close(fd);
}

bool read_file(const char *path, char *into, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, into, size - 1);
    if (fd >= 0)
        close(fd);
    into[got > 0 ? got : 0] = 0;
    return got > 0;
}

void mount_type(const char *type, const char *target, unsigned long flags, const char *data) {
    if (mount(type, target, type, flags, data) < 0)
        die(target);
}
