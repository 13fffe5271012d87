/* Linked with the agent in place of the C library's own, so that a test can run a microVM's agent on this machine: what would change
 * the machine itself does nothing, and the cgroup is a directory of the test's. */
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data) {
    if (type && !strcmp(type, "cgroup2"))
        return (int)syscall(SYS_mount, "/cgroup", target, NULL, MS_BIND, NULL);
    return (int)syscall(SYS_mount, source, target, type, flags, data);
}

int mkdir(const char *path, mode_t mode) {
    int done = (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
    return done < 0 && errno == EEXIST && strstr(path, "/cgroup/function") ? 0 : done; /* the test has made it, with its files */
}

int clock_settime(clockid_t clock, const struct timespec *time) {
    (void)clock;
    return time->tv_nsec < 1000000000 ? 0 : -1;
}

int ioctl(int fd, unsigned long request, ...) {
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    return request == RNDADDENTROPY || request == RNDRESEEDCRNG ? 0 : (int)syscall(SYS_ioctl, fd, request, argument);
}
