/* The first stage in a microVM whose kernel has its drivers as modules: load them, find the root, and go on there. */
#include "initramfs.h"
#include "agent.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum { ROOT_TIMEOUT_MS = 5000 };

static void load_module(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || syscall(SYS_finit_module, fd, "", 0) < 0)
        die(path);
    close(fd);
}

/* /modules: one path a line, in the order of their dependencies. */
static void load_modules(void) {
    char path[256];
    FILE *list = fopen("/modules", "re");
    while (list && fgets(path, sizeof path, list)) {
        path[strcspn(path, "\n")] = 0;
        if (*path)
            load_module(path);
    }
    if (list)
        fclose(list);
}

_Noreturn void initramfs_run(char **argv) {
    static const char *const types[] = {"erofs", "squashfs", "ext4"};
    mkdir("/dev", 0755);
    mkdir("/root", 0755);
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    load_modules();
    for (int waited_ms = 0; access("/dev/vda", F_OK) < 0 && waited_ms < ROOT_TIMEOUT_MS; waited_ms++)
        poll(NULL, 0, 1);
    int mounted = -1;
    for (size_t i = 0; mounted < 0 && i < sizeof types / sizeof *types; i++)
        mounted = mount("/dev/vda", "/root", types[i], MS_RDONLY | MS_NODEV | MS_NOSUID, NULL);
    if (mounted < 0)
        die("the root drive");
    umount("/dev");
    if (chdir("/root") < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0)
        die("switching to the root drive");
    argv[0] = "/.hanabi/init";
    execv(argv[0], argv);
    die(argv[0]);
}
