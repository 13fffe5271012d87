/* The memory of the sandbox's processes in a microVM: limited and measured by a cgroup. */
#include "cgroup.h"
#include "agent.h"
#include "control.h"
#include "files.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>

enum { PIDS_MAX = 1024, RESCAN_BYTES = 1 << 20 };

static bool created;
static int directory_fd = -1, procs_fd = -1, peak_fd = -1, events_fd = -1, stat_fd = -1;
static pid_t processes[ROLE_COUNT];
static uint64_t reported_peak_bytes, reported_kills;
static uint64_t scanned_peak_bytes, footprint_bytes; /* the cgroup's peak at the last scan, and what that found */

/* --- setup --------------------------------------------------------------------------------------------------------- */

/* The lowest three descriptors above the standard ones are the channels'. */
static int open_above_channels(const char *name, int flags) {
    int low = openat(directory_fd, name, flags | O_CLOEXEC);
    int fd = low < 0 ? -1 : fcntl(low, F_DUPFD_CLOEXEC, LOG_FD + 1);
    if (low >= 0)
        close(low);
    return fd;
}

static void write_setting(const char *name, const char *value) {
    int fd = openat(directory_fd, name, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, value, strlen(value)) < 0)
        die(name);
    close(fd);
}

void cgroup_create(const char *root) {
    char path[64], count[16];
    mount_type("cgroup2", root, MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    snprintf(path, sizeof path, "%s/cgroup.subtree_control", root);
    write_file(path, "+memory +pids");
    snprintf(path, sizeof path, "%s/function", root);
    if (mkdir(path, 0755) < 0 || (directory_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0)
        die(path);
    snprintf(count, sizeof count, "%d", PIDS_MAX);
    write_setting("pids.max", count);
    procs_fd = open_above_channels("cgroup.procs", O_WRONLY);
    events_fd = open_above_channels("memory.events", O_RDONLY);
    stat_fd = open_above_channels("memory.stat", O_RDONLY);
    /* memory.peak can be reset since Linux 6.12; before 5.19 what is used at the moment of asking has to do */
    if ((peak_fd = open_above_channels("memory.peak", O_RDWR)) < 0 && (peak_fd = open_above_channels("memory.peak", O_RDONLY)) < 0)
        peak_fd = open_above_channels("memory.current", O_RDONLY);
    int low = directory_fd;
    directory_fd = fcntl(low, F_DUPFD_CLOEXEC, LOG_FD + 1);
    close(low);
    if (directory_fd < 0 || procs_fd < 0 || events_fd < 0 || stat_fd < 0 || peak_fd < 0)
        die(path);
    created = true;
}

bool cgroup_join(void) { return !created || write(procs_fd, "0", 1) == 1; }

void cgroup_set_process(uint8_t role, pid_t pid) { processes[role] = pid; }

void cgroup_limit_memory(uint64_t bytes) {
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)bytes);
    write_setting("memory.max", text);
}

bool cgroup_reset_peak(void) {
    reported_peak_bytes = scanned_peak_bytes = footprint_bytes = 0;
    return write(peak_fd, "1", 1) == 1 || errno == EBADF || errno == EINVAL; /* an older kernel cannot */
}

/* --- measuring ----------------------------------------------------------------------------------------------------- */

/* The number after `name`, which begins a line. */
static uint64_t number_after(const char *text, const char *name) {
    size_t length = strlen(name);
    for (const char *line = text; line; line = (line = strchr(line, '\n')) ? line + 1 : NULL)
        if (!strncmp(line, name, length))
            return strtoull(line + length, NULL, 10);
    return 0;
}

static void read_start(int fd, char *into, size_t size) {
    ssize_t got = pread(fd, into, size - 1, 0);
    into[got > 0 ? got : 0] = 0;
}

static uint64_t count_kills(void) {
    char text[256];
    read_start(events_fd, text, sizeof text);
    return number_after(text, "oom_kill ");
}

static uint64_t sum_of_process_peaks(void) {
    static char text[8 * 1024];
    char path[32];
    uint64_t bytes = 0;
    for (int role = 0; role < ROLE_COUNT; role++) {
        snprintf(path, sizeof path, "/proc/%d/status", (int)processes[role]);
        if (processes[role] && read_file(path, text, sizeof text))
            bytes += number_after(text, "VmHWM:") * 1024;
    }
    return bytes;
}

/* As hanabi/sandbox/host/memory_use.py has it: without the cache of files that nobody maps, which the kernel takes back when memory is scarce,
 * and not less than the processes' own peaks. Scanned again when the cgroup's peak has grown by a megabyte. */
static uint64_t footprint(uint64_t peak, enum memory_scan scan) {
    static char text[8 * 1024];
    if (scan != SCAN_PEAK && peak - scanned_peak_bytes >= RESCAN_BYTES) {
        scanned_peak_bytes = peak;
        read_start(stat_fd, text, sizeof text);
        uint64_t cached = number_after(text, "file "), kept = number_after(text, "file_mapped ") + number_after(text, "shmem ");
        uint64_t used = peak - (cached > kept ? cached - kept : 0), resident = sum_of_process_peaks();
        used = used > peak ? 0 : used; /* the two files are not of the same moment */
        used = used > resident ? used : resident;
        footprint_bytes = used > footprint_bytes ? used : footprint_bytes;
    }
    return footprint_bytes + (peak - scanned_peak_bytes);
}

void cgroup_report_memory(enum memory_scan scan) {
    char text[32];
    if (!created)
        return;
    read_start(peak_fd, text, sizeof text);
    uint64_t raw = strtoull(text, NULL, 10), peak = footprint(raw > scanned_peak_bytes ? raw : scanned_peak_bytes, scan);
    uint64_t kills = scan == SCAN_FOOTPRINT_AND_KILLS ? count_kills() : reported_kills;
    if (peak == reported_peak_bytes && kills == reported_kills)
        return;
    uint8_t body[16];
    for (int i = 0; i < 8; i++) {
        body[i] = (uint8_t)(peak >> 8 * i);
        body[8 + i] = (uint8_t)(kills >> 8 * i);
    }
    reported_peak_bytes = peak;
    reported_kills = kills;
    control_send('M', body, sizeof body);
    control_flush(); /* now: before the answer that it belongs to */
}
