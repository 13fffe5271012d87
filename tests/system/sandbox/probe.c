/* What a function would try: each command prints one line, "ok ..." or the name of the error. Static: it needs no root file system. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MB (1024 * 1024)

static char buffer[MB];

static int report(long result) {
    if (result < 0)
        printf("%s\n", strerrorname_np(errno));
    else
        printf("ok %ld\n", result);
    fflush(stdout);
    return 0;
}

static int cat(const char *path) {
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        return report(-1);
    for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) > 0;)
        fwrite(buffer, 1, n, stdout);
    return 0;
}

static int list(const char *path) {
    DIR *directory = opendir(path);
    if (!directory)
        return report(-1);
    for (struct dirent *entry; (entry = readdir(directory));)
        if (entry->d_name[0] != '.')
            printf("%s\n", entry->d_name);
    return 0;
}

static int put(const char *path) {
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    return report(fd < 0 ? -1 : write(fd, "x", 1));
}

static int alloc(long mb) {
    char *memory = mmap(NULL, mb * MB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return report(-1);
    for (long at = 0; at < mb * MB; at += 4096)
        memory[at] = 1;
    return report(mb);
}

/* Writes megabytes until done or refused; prints how many. */
static int fill(const char *path, long mb) {
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    if (fd < 0)
        return report(-1);
    long done = 0, wanted = mb * (long)sizeof buffer;
    memset(buffer, 'x', sizeof buffer);
    for (ssize_t put; done < wanted && (put = write(fd, buffer, sizeof buffer)) > 0;) // the last one before the end may be short
        done += put;
    printf("%ld %s\n", done / (long)sizeof buffer, done < wanted ? strerrorname_np(errno) : "ok");
    return 0;
}

static int forks(long most) {
    long made = 0;
    while (made < most) {
        pid_t pid = fork();
        if (pid < 0)
            break;
        if (!pid)
            for (;;)
                pause();
        made++;
    }
    printf("%ld %s\n", made, made < most ? strerrorname_np(errno) : "ok");
    return 0;
}

static int fds(void) {
    int highest = 0;
    for (int fd; (fd = open("/dev/null", O_RDONLY)) >= 0; highest = fd)
        ;
    printf("%d %s\n", highest, strerrorname_np(errno));
    return 0;
}

static void spin(long ms) {
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do
        clock_gettime(CLOCK_MONOTONIC, &now);
    while ((now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000 < ms);
}

static int reach(const char *host, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, host, &address.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS)
        return report(-1);
    struct pollfd wait = {.fd = fd, .events = POLLOUT};
    if (poll(&wait, 1, 700) != 1) {
        errno = ETIMEDOUT;
        return report(-1);
    }
    socklen_t size = sizeof errno;
    int error = 0;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    errno = error;
    return report(error ? -1 : 0);
}

static int serve(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 8))
        return report(-1);
    report(port);
    return pause();
}

/* One DNS question, "a. A"; prints the answer's length and code. */
static int ask(const char *host) {
    static const unsigned char question[] = {7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 'a', 0, 0, 1, 0, 1};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(53)};
    inet_pton(AF_INET, host, &address.sin_addr);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) || send(fd, question, sizeof question, 0) < 0)
        return report(-1);
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    if (poll(&wait, 1, 8000) != 1) {
        errno = ETIMEDOUT;
        return report(-1);
    }
    ssize_t size = recv(fd, buffer, sizeof buffer, 0);
    if (size < 0)
        return report(-1);
    printf("answer %zd code %d\n", size, buffer[3] & 15);
    return 0;
}

static int idle(void *unused) {
    (void)unused;
    return 0;
}

static long attempt(const char *what) {
    static char stack[65536];
    char zero[128] = {0};
    struct iovec vector = {zero, 1};
    struct ifaddrs *addresses;
#define IS(name) (!strcmp(what, name))
    if (IS("mount")) return mount("none", "/opt", "tmpfs", 0, "");
    if (IS("umount")) return umount2("/tmp", 0);
    if (IS("fsopen")) return syscall(SYS_fsopen, "tmpfs", 0);
    if (IS("open_tree")) return syscall(SYS_open_tree, AT_FDCWD, "/", 1);
    if (IS("unshare-user")) return unshare(CLONE_NEWUSER);
    if (IS("unshare-net")) return unshare(CLONE_NEWNET);
    if (IS("clone-user")) return clone(idle, stack + sizeof stack, CLONE_NEWUSER | SIGCHLD, NULL);
    if (IS("clone-plain")) return clone(idle, stack + sizeof stack, SIGCHLD, NULL) > 0 ? 0 : -1;
    if (IS("clone3")) return syscall(SYS_clone3, zero, 64);
    if (IS("setns")) return setns(open("/proc/self/ns/uts", O_RDONLY), 0);
    if (IS("ptrace-agent")) return ptrace(PTRACE_ATTACH, 1, 0, 0);
    if (IS("process_vm_readv")) return process_vm_readv(1, &vector, 1, &vector, 1, 0);
    if (IS("pidfd_getfd")) return syscall(SYS_pidfd_getfd, 0, 3, 0);
    if (IS("bpf")) return syscall(SYS_bpf, 0, zero, sizeof zero);
    if (IS("perf_event_open")) return syscall(SYS_perf_event_open, zero, 0, -1, -1, 0);
    if (IS("userfaultfd")) return syscall(SYS_userfaultfd, 1);
    if (IS("io_uring")) return syscall(SYS_io_uring_setup, 1, zero);
    if (IS("keyctl")) return syscall(SYS_keyctl, 0, -3, 0);
    if (IS("add_key")) return syscall(SYS_add_key, "user", "x", "x", 1, -3);
    if (IS("init_module")) return syscall(SYS_init_module, zero, 1, "");
    if (IS("kexec")) return syscall(SYS_kexec_load, 0, 0, 0, 0);
    if (IS("reboot")) return syscall(SYS_reboot, 0xfee1dead, 672274793, 0, 0);
    if (IS("swapon")) return syscall(SYS_swapon, "/tmp/x", 0);
    if (IS("syslog")) return syscall(SYS_syslog, 3, zero, 1);
    if (IS("acct")) return syscall(SYS_acct, NULL);
    if (IS("quotactl")) return syscall(SYS_quotactl, 0, "", 0, zero);
    if (IS("name_to_handle_at")) return syscall(SYS_name_to_handle_at, AT_FDCWD, "/", zero, zero, 0);
    if (IS("open_by_handle_at")) return syscall(SYS_open_by_handle_at, 0, zero, 0);
    if (IS("settime")) return syscall(SYS_clock_settime, CLOCK_REALTIME, zero);
    if (IS("chroot")) return chroot("/tmp");
    if (IS("personality")) return personality(ADDR_NO_RANDOMIZE);
    if (IS("personality-query")) return personality(0xffffffff);
    if (IS("raw")) return socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
    if (IS("ping")) return socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
    if (IS("packet")) return socket(AF_PACKET, SOCK_RAW, 0);
    if (IS("vsock")) return socket(AF_VSOCK, SOCK_STREAM, 0);
    if (IS("alg")) return socket(38, SOCK_SEQPACKET, 0);
    if (IS("sctp")) return socket(AF_INET, SOCK_STREAM, 132);
    if (IS("audit")) return socket(AF_NETLINK, SOCK_RAW, NETLINK_AUDIT);
    if (IS("tcp")) return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP) < 0 ? -1 : 0;
    if (IS("getifaddrs")) return getifaddrs(&addresses);
    if (IS("linger") || IS("linger-wide") || IS("keepalive")) {
        struct linger linger = {1, 3600};
        long level = SOL_SOCKET | (IS("linger-wide") ? 1L << 40 : 0); /* the kernel looks at the lower half only */
        return syscall(SYS_setsockopt, socket(AF_INET, SOCK_STREAM, 0), level, IS("keepalive") ? SO_KEEPALIVE : SO_LINGER, &linger, sizeof linger);
    }
    if (IS("send-rights")) { /* on the runtime channel */
        union { struct cmsghdr header; char space[CMSG_SPACE(sizeof(int))]; } rights = {0};
        struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &rights, .msg_controllen = sizeof rights.space};
        rights.header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        return sendmsg(4, &message, MSG_NOSIGNAL) < 0 ? -1 : 0;
    }
    if (IS("setuid-root")) return setuid(0);
    if (IS("setuid-agent")) return setuid(992);
    if (IS("kill-agent")) return kill(1, SIGKILL);
    if (IS("mknod")) return mknod("/tmp/vda", S_IFBLK | 0600, 0xfe00);
    if (IS("sethostname")) return sethostname("x", 1);
    if (IS("lower-oom")) { int fd = open("/proc/self/oom_score_adj", O_WRONLY); return fd < 0 ? -1 : write(fd, "-1000", 5); }
    if (IS("lower-oom-to-agent")) { int fd = open("/proc/self/oom_score_adj", O_WRONLY); return fd < 0 ? -1 : write(fd, "0", 1); }
    if (IS("lower-oom-of-a-child")) {
        char path[64];
        pid_t child = fork();
        if (child == 0) pause();
        snprintf(path, sizeof path, "/proc/%d/oom_score_adj", (int)child);
        int fd = open(path, O_WRONLY), done = fd < 0 ? -1 : (int)write(fd, "0", 1), error = errno;
        kill(child, SIGKILL);
        errno = error;
        return done;
    }
    if (IS("move-between-directories")) {
        if (mkdir("/tmp/one", 0700) < 0 || mkdir("/tmp/two", 0700) < 0) return -1;
        close(open("/tmp/one/file", O_CREAT | O_WRONLY, 0600));
        return rename("/tmp/one/file", "/tmp/two/file");
    }
    if (IS("write-devices")) {
        int null = open("/dev/null", O_WRONLY), out = open("/dev/stdout", O_WRONLY);
        return null < 0 || out < 0 ? -1 : 0;
    }
    if (IS("low-port")) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(80)};
        return bind(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&address, sizeof address);
    }
    errno = ENOSYS;
    return -1;
}

int main(int argc, char **argv) {
    const char *command = argc > 1 ? argv[1] : "", *first = argc > 2 ? argv[2] : "", *second = argc > 3 ? argv[3] : "";
    if (!strcmp(command, "cat")) return cat(first);
    if (!strcmp(command, "list")) return list(first);
    if (!strcmp(command, "put")) return put(first);
    if (!strcmp(command, "alloc")) return alloc(atol(first));
    if (!strcmp(command, "fill")) return fill(first, atol(second));
    if (!strcmp(command, "forks")) return forks(atol(first));
    if (!strcmp(command, "fds")) return fds();
    if (!strcmp(command, "reach")) return reach(first, atoi(second));
    if (!strcmp(command, "serve")) return serve(atoi(first));
    if (!strcmp(command, "ask")) return ask(first);
    if (!strcmp(command, "spin")) return spin(atol(first)), report(0);
    if (!strcmp(command, "wait")) return report(0), pause();
    if (!strcmp(command, "try"))
        for (int i = 2; i < argc; i++) {
            printf("%s ", argv[i]);
            report(attempt(argv[i]));
        }
    return 0;
}
