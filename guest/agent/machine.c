/* The machine of a microVM: its mounts, clock, name, network and drives. */
#include "machine.h"
#include "cgroup.h"
#include "control.h"
#include "files.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/random.h>
#include <net/if.h>
#include <net/route.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

#define PRIVATE "/.hanabi" /* what is mounted here only the agent may enter */
#define BOOT_ID PRIVATE "/boot_id"

enum { DRIVE_TIMEOUT_MS = 5000 };

static bool is_ours;
static struct user user;

/* --- boot ---------------------------------------------------------------------------------------------------------- */

static void make_devices(void) {
    static const struct {
        const char *path;
        unsigned minor;
    } devices[] = {{"/dev/null", 3}, {"/dev/zero", 5}, {"/dev/full", 7}, {"/dev/random", 8}, {"/dev/urandom", 9}};
    mount_type("tmpfs", "/dev", MS_NOSUID | MS_NOEXEC, "mode=755,size=64k");
    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++)
        if (mknod(devices[i].path, S_IFCHR | 0666, makedev(1, devices[i].minor)) < 0 || chmod(devices[i].path, 0666) < 0)
            die(devices[i].path);
    if (mknod("/dev/tty", S_IFCHR | 0666, makedev(5, 0)) < 0 || chmod("/dev/tty", 0666) < 0 || symlink("/proc/self/fd", "/dev/fd") < 0 ||
        symlink("/proc/self/fd/0", "/dev/stdin") < 0 || symlink("/proc/self/fd/1", "/dev/stdout") < 0 ||
        symlink("/proc/self/fd/2", "/dev/stderr") < 0)
        die("/dev");
}

void machine_setup(struct user function) {
    is_ours = true;
    user = function;
    mount_type("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mount_type("tmpfs", PRIVATE, MS_NOSUID | MS_NOEXEC, "mode=0700,size=1m");
    if (mkdir(PRIVATE "/sys", 0700) < 0 || mkdir(PRIVATE "/cgroup", 0700) < 0)
        die(PRIVATE);
    mount_type("sysfs", PRIVATE "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    make_devices();
    cgroup_create(PRIVATE "/cgroup");
}

bool machine_is_ours(void) { return is_ours; }

static void send_errno(uint8_t type, bool done) {
    uint32_t error = done ? 0 : errno ? (uint32_t)errno : EIO;
    uint8_t body[4] = {(uint8_t)error, (uint8_t)(error >> 8)};
    control_send(type, body, sizeof body);
}

/* --- identity ------------------------------------------------------------------------------------------------------ */

/* A restored machine has its snapshot's random pool: it must differ before anybody draws from it. */
static bool add_entropy(const uint8_t *bytes, size_t length) {
    union {
        struct rand_pool_info info;
        char space[sizeof(struct rand_pool_info) + ENTROPY_BYTES_MAX];
    } pool = {.info = {.entropy_count = (int)length * 8, .buf_size = (int)length}};
    memcpy(pool.info.buf, bytes, length);
    int fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0 && ioctl(fd, RNDADDENTROPY, &pool) == 0 && ioctl(fd, RNDRESEEDCRNG, NULL) == 0;
    if (fd >= 0)
        close(fd);
    return done;
}

/* The boot id names the restore: each machine that is restored has another one. */
static bool set_boot_id(void) {
    static bool mounted;
    uint8_t b[16];
    char text[40];
    int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    bool done = fd >= 0 && read(fd, b, sizeof b) == (ssize_t)sizeof b;
    if (fd >= 0)
        close(fd);
    if (!done)
        return false;
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40); /* version 4, as the kernel's own */
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    snprintf(text, sizeof text, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x\n", b[0], b[1], b[2], b[3], b[4],
             b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
    write_file(BOOT_ID, text);
    if (!mounted && mount(BOOT_ID, "/proc/sys/kernel/random/boot_id", NULL, MS_BIND, NULL) < 0)
        return false;
    mounted = true;
    return true;
}

static void set_address(void *into, uint32_t address) {
    *(struct sockaddr_in *)into = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = address};
}

/* The interface goes down and up again, so that nothing of an earlier address stays. */
static bool set_network(uint32_t address, uint32_t mask, uint32_t gateway) {
    struct ifreq request = {.ifr_name = "eth0"};
    struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool done = fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &request) == 0;
    if (done && request.ifr_flags & IFF_UP) {
        request.ifr_flags &= (short)~IFF_UP;
        done = ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    }
    if (done && address) {
        set_address(&request.ifr_addr, address);
        done = ioctl(fd, SIOCSIFADDR, &request) == 0;
        set_address(&request.ifr_netmask, mask);
        done = done && ioctl(fd, SIOCSIFNETMASK, &request) == 0 && ioctl(fd, SIOCGIFFLAGS, &request) == 0;
        request.ifr_flags |= IFF_UP;
        done = done && ioctl(fd, SIOCSIFFLAGS, &request) == 0;
        set_address(&route.rt_dst, 0);
        set_address(&route.rt_genmask, 0);
        set_address(&route.rt_gateway, gateway);
        done = done && ioctl(fd, SIOCADDRT, &route) == 0;
    }
    if (fd >= 0)
        close(fd);
    return done || !address;
}

void machine_identify(const struct message *message) {
    uint64_t ns = message->identify.unix_ns;
    struct timespec now = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
    const char *name = message->identify.hostname;
    errno = 0;
    send_errno('v', add_entropy(message->identify.entropy, message->identify.entropy_bytes) && set_boot_id() &&
                        clock_settime(CLOCK_REALTIME, &now) == 0 && sethostname(name, strlen(name)) == 0 &&
                        set_network(htonl(message->identify.address), htonl(message->identify.mask), htonl(message->identify.gateway)));
}

/* --- drives --------------------------------------------------------------------------------------------------------- */

/* The host has put another file behind the drive; the kernel notices a moment later. */
static bool wait_for_size(char letter, uint64_t bytes) {
    char path[64], text[32];
    snprintf(path, sizeof path, PRIVATE "/sys/block/vd%c/size", letter);
    for (int waited_ms = 0; waited_ms < DRIVE_TIMEOUT_MS; waited_ms++) {
        if (read_file(path, text, sizeof text) && strtoull(text, NULL, 10) * 512 == bytes)
            return true;
        poll(NULL, 0, 1);
    }
    errno = ETIMEDOUT;
    return false;
}

static bool make_node(char letter, char *node, size_t size) {
    char path[64], text[32];
    unsigned major, minor;
    snprintf(path, sizeof path, PRIVATE "/sys/block/vd%c/dev", letter);
    snprintf(node, size, PRIVATE "/vd%c", letter);
    if (!read_file(path, text, sizeof text) || sscanf(text, "%u:%u", &major, &minor) != 2)
        return false;
    return mknod(node, S_IFBLK | 0600, makedev(major, minor)) == 0 || errno == EEXIST;
}

void machine_mount_drive(const struct message *message) {
    char letter = message->drive.letter, node[32];
    bool writable = message->drive.writable;
    const char *target = message->drive.target;
    unsigned long flags = MS_NOSUID | MS_NODEV | (writable ? MS_NOATIME : MS_RDONLY);
    errno = 0;
    bool done = wait_for_size(letter, message->drive.size_bytes) && make_node(letter, node, sizeof node) &&
                mount(node, target, message->drive.file_system, flags, NULL) == 0;
    if (done && writable) /* it is the function's */
        done = chown(target, user.uid, user.gid) == 0 && chmod(target, 0700) == 0;
    send_errno('d', done);
}

/* --- memory -------------------------------------------------------------------------------------------------------- */

void machine_trim(void) {
    int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
    errno = 0;
    send_errno('t', fd >= 0 && write(fd, "1", 1) == 1);
    if (fd >= 0)
        close(fd);
}
