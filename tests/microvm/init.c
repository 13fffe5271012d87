/* The first process of a guest that is booted to see whether its kernel is good: says what it finds on the console, then restarts.
 * It inserts the modules that /modules lists, as Hanabi's agent does. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void say(const char *what, int failed)
{
    printf("%s: %s\n", what, failed ? strerror(errno) : "ok");
}

static void show(const char *path)
{
    char text[256];
    int file = open(path, O_RDONLY);
    ssize_t size = file < 0 ? -1 : read(file, text, sizeof text - 1);

    if (size < 0) {
        say(path, 1);
        return;
    }
    text[size] = 0;
    text[strcspn(text, "\n")] = 0;
    printf("%s: %s\n", path, text);
    close(file);
}

static void place(const char *what, const char *where, const char *type, unsigned long flags)
{
    char name[64];

    mkdir(where, 0755);
    snprintf(name, sizeof name, "mount %s", type);
    say(name, mount(what, where, type, flags, 0));
}

static void insert_modules(void)
{
    char path[256];
    FILE *list = fopen("/modules", "r");

    while (list && fgets(path, sizeof path, list)) {
        path[strcspn(path, "\n")] = 0;
        int file = open(path, O_RDONLY);
        say(path, file < 0 || syscall(SYS_finit_module, file, "", 0));
        close(file);
    }
}

int main(void)
{
    setvbuf(stdout, 0, _IONBF, 0);
    mkdir("/dev", 0755);
    mount("dev", "/dev", "devtmpfs", 0, 0);
    insert_modules();
    place("proc", "/proc", "proc", 0);
    place("sys", "/sys", "sysfs", 0);
    place("cgroup", "/sys/fs/cgroup", "cgroup2", 0);
    show("/sys/fs/cgroup/cgroup.controllers");
    static const char *types[] = {"erofs", "squashfs", "ext4"};
    char device[] = "/dev/vda";
    for (int i = 0; i < 3; i++, device[7]++)
        place(device, types[i], types[i], MS_RDONLY);
    show("erofs/hello");
    show("squashfs/hello");
    show("ext4/hello");
    mkdir("upper", 0755);
    mkdir("work", 0755);
    mkdir("merged", 0755);
    place("tmp", "upper", "tmpfs", 0);
    mkdir("upper/upper", 0755);
    mkdir("upper/work", 0755);
    say("mount overlay", mount("overlay", "merged", "overlay", 0, "lowerdir=erofs,upperdir=upper/upper,workdir=upper/work"));
    show("merged/hello");
    say("vsock", socket(AF_VSOCK, SOCK_STREAM, 0) < 0);
    say("inet", socket(AF_INET, SOCK_STREAM, 0) < 0);
    show("/proc/uptime");
    puts("done");
    reboot(RB_AUTOBOOT);
    return 0;
}
