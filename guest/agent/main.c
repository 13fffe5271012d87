/* Options, setup, the order of one turn of the loop. */
#include "agent.h"
#include "channels.h"
#include "commands.h"
#include "control.h"
#include "initramfs.h"
#include "loop.h"
#include "machine.h"
#include "process.h"
#include "relay.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

struct options {
    int runtime_port, edge_port;
    int fds[3];
    struct user user;
    struct vsock_options vsock;
    bool machine;
};

static _Noreturn void usage(void) {
    dprintf(2, "usage: hanabi-init [--runtime-port N] [--edge-port N] [--uid U --gid G] [--fds CONTROL RUNTIME LOG]\n"
               "                   [--vsock PORT [--cid CID | --unix PREFIX]] | --version\n");
    _exit(64);
}

static long parse_number(const char *text, long max) {
    char *end;
    errno = 0;
    long value = text ? strtol(text, &end, 10) : -1;
    if (!text || errno || end == text || *end || value < 0 || value > max)
        usage();
    return value;
}

static struct options parse_options(char **argv) {
    struct options o = {.runtime_port = 9001, .edge_port = 9002, .fds = {CONTROL_FD, RUNTIME_FD, LOG_FD}, .vsock = {.host_cid = 2}};
    bool uid = false, gid = false;
    while (*++argv) {
        const char *name = *argv;
        if (!strcmp(name, "--version")) {
            printf("hanabi-init %d\n", PROTOCOL_VERSION);
            exit(0);
        } else if (!strcmp(name, "--runtime-port"))
            o.runtime_port = (int)parse_number(*++argv, 65535);
        else if (!strcmp(name, "--edge-port"))
            o.edge_port = (int)parse_number(*++argv, 65535);
        else if (!strcmp(name, "--uid"))
            o.user.uid = (uid_t)parse_number(*++argv, UINT32_MAX - 1L), uid = true;
        else if (!strcmp(name, "--gid"))
            o.user.gid = (gid_t)parse_number(*++argv, UINT32_MAX - 1L), gid = true;
        else if (!strcmp(name, "--fds"))
            for (int i = 0; i < 3; i++)
                o.fds[i] = (int)parse_number(*++argv, 1 << 20);
        else if (!strcmp(name, "--vsock"))
            o.vsock.port = (uint32_t)parse_number(*++argv, UINT32_MAX - 8L), o.vsock.given = true;
        else if (!strcmp(name, "--machine"))
            o.machine = true;
        else if (!strcmp(name, "--cid"))
            o.vsock.host_cid = (unsigned)parse_number(*++argv, UINT32_MAX);
        else if (!strcmp(name, "--unix")) {
            if (!(o.vsock.unix_prefix = *++argv))
                usage();
        } else
            usage();
    }
    if (uid != gid || (o.machine && !(o.vsock.given && uid)))
        usage();
    o.user.given = uid;
    return o;
}

/* The three inherited channels get their fixed descriptors; whatever else the parent left open is closed. */
static void move_channels(const int fds[3]) {
    int parked[3];
    for (int i = 0; i < 3; i++)
        if ((parked[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, LOG_FD + 1)) < 0)
            die("an inherited channel");
    for (int i = 0; i < 3; i++)
        if (dup3(parked[i], CONTROL_FD + i, O_CLOEXEC) < 0)
            die("dup");
    if (syscall(SYS_close_range, LOG_FD + 1, ~0U, 0) < 0)
        die("close_range");
}

static void open_standard_fds(void) {
    int fd;
    do
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    while (fd >= 0 && fd <= 2);
    if (fd < 0)
        die("/dev/null");
    close(fd);
}

/* A kernel that has just booted has its loopback down. */
static void bring_up_loopback(void) {
    struct ifreq request = {.ifr_name = "lo"};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    if (ioctl(fd, SIOCGIFFLAGS, &request) == 0 && !(request.ifr_flags & IFF_UP)) {
        request.ifr_flags |= IFF_UP;
        ioctl(fd, SIOCSIFFLAGS, &request);
    }
    close(fd);
}

static int listen_on(int port) {
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 128) < 0)
        die("listening on loopback");
    return fd;
}

/* What the bounding set loses, no child can regain. The agent keeps what it needs to change a child's ids and to kill it; in a microVM all,
 * for it sets the clock, the name and the network of a restored machine. */
static void drop_capabilities(bool machine) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[2] = {{0}};
    uint32_t keep = 1U << CAP_SETUID | 1U << CAP_SETGID | 1U << CAP_KILL;
    for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
        prctl(PR_CAPBSET_DROP, cap, 0, 0, 0); /* needs CAP_SETPCAP; without it no_new_privs has to do */
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (machine)
        return;
    if (syscall(SYS_capget, &header, sets) < 0)
        die("capget");
    sets[0] = (struct __user_cap_data_struct){.effective = sets[0].permitted & keep, .permitted = sets[0].permitted & keep};
    sets[1] = (struct __user_cap_data_struct){0};
    if (syscall(SYS_capset, &header, sets) < 0)
        die("capset");
}

static int open_signals(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    signal(SIGPIPE, SIG_IGN);
    int fd = -1;
    if (sigprocmask(SIG_SETMASK, &set, NULL) < 0 || (fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)) < 0)
        die("signalfd");
    return fd;
}

static bool must_end(int signals) {
    struct signalfd_siginfo info;
    bool end = false;
    while (read(signals, &info, sizeof info) == sizeof info)
        end |= info.ssi_signo != SIGCHLD;
    return end;
}

/* False: the sandbox ends. */
static bool turn(int signals) {
    loop_begin_turn();
    int signals_slot = loop_watch(signals, POLLIN);
    commands_watch();
    process_watch();
    channels_watch();
    relay_watch();
    int timeout_ms = process_timeout_ms();
    loop_wait(timeout_ms >= 0 ? timeout_ms : channels_timeout_ms());
    bool going = !(loop_ready(signals_slot) && must_end(signals));
    process_turn(); /* first, because the end of a kill lets the next message through */
    going &= commands_turn();
    if (channels_turn())
        relay_resume();
    relay_turn();
    return going;
}

int main(int argc, char **argv) {
    (void)argc;
    if (getpid() == 1 && !strcmp(argv[0], "/init"))
        initramfs_run(argv);
    struct options options = parse_options(argv);
    if (options.machine)
        machine_setup(options.user);
    open_standard_fds();
    if (options.vsock.given) {
        bring_up_loopback();
        channels_open(options.vsock);
    } else {
        move_channels(options.fds);
        if (fcntl(CONTROL_FD, F_SETFL, O_NONBLOCK) < 0)
            die("control channel");
    }

    /* The function must not see into the agent, nor outlive it. */
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
        die("prctl");
    umask(022);
    int signals = open_signals();
    int listeners[2] = {listen_on(options.runtime_port), listen_on(options.edge_port)};
    process_setup(options.user);
    drop_capabilities(options.machine);
    control_setup(listeners, !options.vsock.given);
    if (options.vsock.given)
        relay_open(listeners);
    else { /* they are the host's now */
        close(listeners[0]);
        close(listeners[1]);
    }
    while (turn(signals))
        ;
    process_end();
    return 0;
}
