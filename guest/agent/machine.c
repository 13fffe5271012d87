/* The machine itself, when it is one: what its kernel has not done, who it is after a restore, its drives, its memory. */
#include "agent.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <net/if.h>
#include <net/route.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#define OWN "/.hanabi" /* what is mounted here only the agent may enter */
#define GROUP OWN "/cgroup/function"
#define GENERATION OWN "/generation"

enum { PIDS_MAX = 1024, DRIVE_WAIT_MS = 5000, ENTROPY_MAX = 256 };

static bool is_machine;
static struct user user;
static int group_procs = -1, memory_peak = -1, memory_events = -1, memory_stat = -1;
static uint64_t told_peak, told_kills;
static uint64_t seen_peak, used_peak; /* the group's when it was last looked into, and what was found */

/* --- boot ---------------------------------------------------------------------------------------------------------- */

static void put(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0444);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        die(path);
    close(fd);
}

static void put_up(const char *type, const char *where, unsigned long flags, const char *data) {
    if (mount(type, where, type, flags, data) < 0)
        die(where);
}

static void make_devices(void) {
    static const struct {
        const char *path;
        unsigned minor;
    } devices[] = {{"/dev/null", 3}, {"/dev/zero", 5}, {"/dev/full", 7}, {"/dev/random", 8}, {"/dev/urandom", 9}};
    put_up("tmpfs", "/dev", MS_NOSUID | MS_NOEXEC, "mode=755,size=64k");
    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++)
        if (mknod(devices[i].path, S_IFCHR | 0666, makedev(1, devices[i].minor)) < 0 || chmod(devices[i].path, 0666) < 0)
            die(devices[i].path);
    if (mknod("/dev/tty", S_IFCHR | 0666, makedev(5, 0)) < 0 || chmod("/dev/tty", 0666) < 0 || symlink("/proc/self/fd", "/dev/fd") < 0 ||
        symlink("/proc/self/fd/0", "/dev/stdin") < 0 || symlink("/proc/self/fd/1", "/dev/stdout") < 0 ||
        symlink("/proc/self/fd/2", "/dev/stderr") < 0)
        die("/dev");
}

/* The function's processes are in a group of their own: its memory is what the function was given, and it is read here. */
static void make_group(void) {
    char most[16];
    put_up("cgroup2", OWN "/cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    put(OWN "/cgroup/cgroup.subtree_control", "+memory +pids");
    if (mkdir(GROUP, 0755) < 0)
        die(GROUP);
    snprintf(most, sizeof most, "%d", PIDS_MAX);
    put(GROUP "/pids.max", most);
    if ((group_procs = open(GROUP "/cgroup.procs", O_WRONLY | O_CLOEXEC)) < 0 ||
        (memory_events = open(GROUP "/memory.events", O_RDONLY | O_CLOEXEC)) < 0 ||
        (memory_stat = open(GROUP "/memory.stat", O_RDONLY | O_CLOEXEC)) < 0)
        die(GROUP);
    /* memory.peak can be reset since Linux 6.12; before 5.19 what is used at the moment of asking has to do */
    if ((memory_peak = open(GROUP "/memory.peak", O_RDWR | O_CLOEXEC)) < 0 && (memory_peak = open(GROUP "/memory.peak", O_RDONLY | O_CLOEXEC)) < 0 &&
        (memory_peak = open(GROUP "/memory.current", O_RDONLY | O_CLOEXEC)) < 0)
        die(GROUP);
}

void machine_boot(struct user as) {
    is_machine = true;
    user = as;
    put_up("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    put_up("tmpfs", OWN, MS_NOSUID | MS_NOEXEC, "mode=0700,size=1m");
    if (mkdir(OWN "/sys", 0700) < 0 || mkdir(OWN "/cgroup", 0700) < 0)
        die(OWN);
    put_up("sysfs", OWN "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    make_devices();
    make_group();
    /* the descriptors so far must not lie where the channels go */
    int *const kept[] = {&group_procs, &memory_peak, &memory_events, &memory_stat};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        int low = *kept[i];
        if ((*kept[i] = fcntl(low, F_DUPFD_CLOEXEC, LOG_FD + 1)) < 0)
            die("dup");
        close(low);
    }
}

bool machine_join_group(void) { return !is_machine || write(group_procs, "0", 1) == 1; }

/* --- who it is ------------------------------------------------------------------------------------------------------ */

/* A clone has its snapshot's random pool: what it draws must be its own before anybody draws. */
static bool stir(const uint8_t *bytes, size_t length) {
    union {
        struct rand_pool_info info;
        char space[sizeof(struct rand_pool_info) + ENTROPY_MAX];
    } pool = {.info = {.entropy_count = (int)length * 8, .buf_size = (int)length}};
    memcpy(pool.info.buf, bytes, length);
    int fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
    bool good = fd >= 0 && ioctl(fd, RNDADDENTROPY, &pool) == 0 && ioctl(fd, RNDRESEEDCRNG, NULL) == 0;
    if (fd >= 0)
        close(fd);
    return good;
}

/* What names this boot names the restore: another one in each clone. */
static bool set_generation(void) {
    static bool shown;
    uint8_t b[16];
    char text[40];
    int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    bool good = fd >= 0 && read(fd, b, sizeof b) == (ssize_t)sizeof b;
    if (fd >= 0)
        close(fd);
    if (!good)
        return false;
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40); /* version 4, as the kernel's own */
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    snprintf(text, sizeof text, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x\n", b[0], b[1], b[2], b[3], b[4],
             b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
    put(GENERATION, text);
    if (!shown && mount(GENERATION, "/proc/sys/kernel/random/boot_id", NULL, MS_BIND, NULL) < 0)
        return false;
    shown = true;
    return true;
}

static void set_address(void *into, uint32_t address) {
    *(struct sockaddr_in *)into = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = address};
}

/* Down and up again: nothing of an earlier address stays. */
static bool set_network(uint32_t address, uint32_t mask, uint32_t gateway) {
    struct ifreq request = {.ifr_name = "eth0"};
    struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool good = fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &request) == 0;
    if (good && request.ifr_flags & IFF_UP) {
        request.ifr_flags &= (short)~IFF_UP;
        good = ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    }
    if (good && address) {
        set_address(&request.ifr_addr, address);
        good = ioctl(fd, SIOCSIFADDR, &request) == 0;
        set_address(&request.ifr_netmask, mask);
        good = good && ioctl(fd, SIOCSIFNETMASK, &request) == 0 && ioctl(fd, SIOCGIFFLAGS, &request) == 0;
        request.ifr_flags |= IFF_UP;
        good = good && ioctl(fd, SIOCSIFFLAGS, &request) == 0;
        set_address(&route.rt_dst, 0);
        set_address(&route.rt_genmask, 0);
        set_address(&route.rt_gateway, gateway);
        good = good && ioctl(fd, SIOCADDRT, &route) == 0;
    }
    if (fd >= 0)
        close(fd);
    return good || !address;
}

static void answer(uint8_t type, bool good) {
    uint32_t error = good ? 0 : errno ? (uint32_t)errno : EIO;
    uint8_t body[4] = {(uint8_t)error, (uint8_t)(error >> 8)};
    control_send(type, body, sizeof body);
}

/* The first word of a host after a boot or a restore. */
static bool identify(struct cursor *c) {
    uint64_t now_ns = take(c, 8);
    size_t length = (size_t)take(c, 2);
    const uint8_t *entropy = c->at;
    if (c->bad || length < 16 || length > ENTROPY_MAX || (size_t)(c->end - c->at) < length)
        return false;
    c->at += length;
    uint32_t address = htonl((uint32_t)take(c, 4)), mask = htonl((uint32_t)take(c, 4)), gateway = htonl((uint32_t)take(c, 4));
    struct timespec now = {.tv_sec = (time_t)(now_ns / 1000000000), .tv_nsec = (long)(now_ns % 1000000000)};
    bool stirred = stir(entropy, length); /* before the name, which is a string and moves over what was read */
    const char *host = take_string(c);
    if (c->bad || c->at != c->end)
        return false;
    errno = 0;
    answer('v', stirred && set_generation() && clock_settime(CLOCK_REALTIME, &now) == 0 && sethostname(host, strlen(host)) == 0 &&
                    set_network(address, mask, gateway));
    return true;
}

/* --- drives --------------------------------------------------------------------------------------------------------- */

static bool read_text(const char *path, char *into, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, into, size - 1);
    if (fd >= 0)
        close(fd);
    into[got > 0 ? got : 0] = 0;
    return got > 0;
}

/* The host has put another file behind the drive; the kernel notices a moment later. */
static bool await_size(char letter, uint64_t bytes) {
    char path[64], text[32];
    snprintf(path, sizeof path, OWN "/sys/block/vd%c/size", letter);
    for (int waited = 0; waited < DRIVE_WAIT_MS; waited++) {
        if (read_text(path, text, sizeof text) && strtoull(text, NULL, 10) * 512 == bytes)
            return true;
        poll(NULL, 0, 1);
    }
    errno = ETIMEDOUT;
    return false;
}

static bool make_node(char letter, char *node, size_t size) {
    char path[64], text[32];
    unsigned major, minor;
    snprintf(path, sizeof path, OWN "/sys/block/vd%c/dev", letter);
    snprintf(node, size, OWN "/vd%c", letter);
    if (!read_text(path, text, sizeof text) || sscanf(text, "%u:%u", &major, &minor) != 2)
        return false;
    return mknod(node, S_IFBLK | 0600, makedev(major, minor)) == 0 || errno == EEXIST;
}

static bool mount_drive(struct cursor *c) {
    char letter = (char)take(c, 1), node[32];
    bool writable = take(c, 1) != 0;
    uint64_t bytes = take(c, 8);
    const char *type = take_string(c), *target = take_string(c);
    if (c->bad || c->at != c->end || letter < 'b' || letter > 'z')
        return false;
    unsigned long flags = MS_NOSUID | MS_NODEV | (writable ? MS_NOATIME : MS_RDONLY);
    errno = 0;
    bool good = await_size(letter, bytes) && make_node(letter, node, sizeof node) && mount(node, target, type, flags, NULL) == 0;
    if (good && writable) /* it is the function's */
        good = chown(target, user.uid, user.gid) == 0 && chmod(target, 0700) == 0;
    answer('d', good);
    return true;
}

/* --- memory --------------------------------------------------------------------------------------------------------- */

static void read_file(int fd, char *into, size_t size) {
    ssize_t got = pread(fd, into, size - 1, 0);
    into[got > 0 ? got : 0] = 0;
}

/* The number after `name`, which begins a line. */
static uint64_t number_after(const char *text, const char *name) {
    size_t length = strlen(name);
    for (const char *line = text; line; line = (line = strchr(line, '\n')) ? line + 1 : NULL)
        if (!strncmp(line, name, length))
            return strtoull(line + length, NULL, 10);
    return 0;
}

static uint64_t count_kills(void) {
    char text[256];
    read_file(memory_events, text, sizeof text);
    return number_after(text, "oom_kill ");
}

/* What people size by, as hanabi/sandbox/footprint.py has it: not the cache of files that nobody maps, which the kernel takes back when
 * memory is scarce, and not less than the processes' own peaks. Looked into when the group's peak has grown by a megabyte. */
static uint64_t footprint(uint64_t peak, enum look look) {
    static char text[8 * 1024];
    if (look != LOOK_BRIEFLY && peak - seen_peak >= 1 << 20) {
        seen_peak = peak;
        read_file(memory_stat, text, sizeof text);
        uint64_t cached = number_after(text, "file "), kept = number_after(text, "file_mapped ") + number_after(text, "shmem ");
        uint64_t used = peak - (cached > kept ? cached - kept : 0), resident = 0;
        for (uint8_t id = 0; id < ROLE_COUNT; id++) {
            char path[32];
            pid_t pid = process_of(id);
            snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
            if (pid && read_text(path, text, sizeof text))
                resident += number_after(text, "VmHWM:") * 1024;
        }
        used = used > peak ? 0 : used; /* the two files are not of the same moment */
        used = used > resident ? used : resident;
        used_peak = used > used_peak ? used : used_peak;
    }
    return used_peak + (peak - seen_peak);
}

void machine_report_memory(enum look look) {
    char text[32];
    if (!is_machine)
        return;
    read_file(memory_peak, text, sizeof text);
    uint64_t raw = strtoull(text, NULL, 10), peak = footprint(raw > seen_peak ? raw : seen_peak, look);
    uint64_t kills = look == LOOK_AT_DEATH ? count_kills() : told_kills;
    if (peak == told_peak && kills == told_kills)
        return;
    uint8_t body[16];
    for (int i = 0; i < 8; i++) {
        body[i] = (uint8_t)(peak >> 8 * i);
        body[8 + i] = (uint8_t)(kills >> 8 * i);
    }
    told_peak = peak;
    told_kills = kills;
    control_send('M', body, sizeof body);
    control_flush(); /* now: before the answer that it belongs to */
}

static bool limit(struct cursor *c) {
    char text[32];
    uint64_t bytes = take(c, 8);
    if (c->bad || c->at != c->end)
        return false;
    snprintf(text, sizeof text, "%llu", (unsigned long long)bytes);
    put(GROUP "/memory.max", text);
    return true;
}

/* Give the host's memory back: what is only cached is not needed while nothing runs. */
static void trim(void) {
    int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
    errno = 0;
    answer('t', fd >= 0 && write(fd, "1", 1) == 1);
    if (fd >= 0)
        close(fd);
}

/* --- what the host says ---------------------------------------------------------------------------------------------- */

bool machine_handle(uint8_t type, struct cursor *c) {
    if (type == 'Q' || type == 'N') {
        if (type == 'N') { /* a snapshot is next: hang up everywhere but here */
            relay_nap();
            channels_nap();
        }
        control_send(type == 'N' ? 'n' : 'q', NULL, 0);
        return c->at == c->end;
    }
    if (!is_machine)
        return false;
    switch (type) {
    case 'V':
        return identify(c);
    case 'D':
        return mount_drive(c);
    case 'L':
        return limit(c);
    case 'Z':
        told_peak = seen_peak = used_peak = 0;
        if (write(memory_peak, "1", 1) < 0 && errno != EBADF && errno != EINVAL) /* an older kernel cannot */
            return false;
        break;
    case 'T':
        trim();
        break;
    default:
        return false;
    }
    return c->at == c->end;
}
