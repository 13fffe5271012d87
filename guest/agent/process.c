/* Processes: start, signal, kill, reap. As PID 1 everything in the sandbox is ours; else all that descends from us. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KILL_PAUSE_MS = 5, KILL_PAUSE_MOST_MS = 160 };

struct role {
    pid_t pid;
    int status; /* pipe that closes when exec succeeds and says `struct failure` when it does not; -1: settled */
    int slot;
};

struct failure {
    int error;
    char step[28];
};

static struct role roles[ROLE_COUNT];
static struct user user;
static pid_t self;
static int null_fd;
static bool killing;
static int pause_ms; /* until it is looked again who has not died yet */
static bool more_to_reap;

void process_setup(struct user as) {
    user = as;
    self = getpid();
    for (int i = 0; i < ROLE_COUNT; i++)
        roles[i].status = -1;
    if ((null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) < 0)
        die("/dev/null");
    /* else a function could not open /dev/stdout; where it is not ours to give, the driver has given it */
    if (user.given && fchown(LOG_FD, user.uid, user.gid) < 0 && errno != EPERM && errno != EINVAL)
        die("fchown");
}

/* --- in the child, between fork and exec -------------------------------------------------------------------------- */

static const char *arrange_fds(uint8_t role, int *status) {
    if (dup2(null_fd, 0) < 0 || dup2(LOG_FD, 1) < 0 || dup2(LOG_FD, 2) < 0)
        return "dup";
    if (dup3(*status, CONTROL_FD, O_CLOEXEC) < 0)
        return "dup";
    *status = CONTROL_FD;
    if (role == ROLE_RUNTIME ? fcntl(RUNTIME_FD, F_SETFD, 0) < 0 : close(RUNTIME_FD) < 0)
        return "runtime channel";
    return syscall(SYS_close_range, RUNTIME_FD + 1, ~0U, 0) < 0 ? "close_range" : NULL;
}

/* Memory runs out in the function, never in the agent. A process that is not dumpable may not write this file. */
static const char *volunteer_for_oom(void) {
    if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0)
        return "dumpable";
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    bool written = fd >= 0 && write(fd, "1000", 4) == 4;
    int error = errno;
    if (fd >= 0)
        close(fd);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    errno = error;
    return written ? NULL : "oom_score_adj";
}

static const char *drop_privileges(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}}, now[2];
    if (user.given && setgroups(0, NULL) < 0)
        return "setgroups";
    if (user.given && setresgid(user.gid, user.gid, user.gid) < 0)
        return "setgid";
    if (user.given && setresuid(user.uid, user.uid, user.uid) < 0)
        return "setuid";
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return "ambient capabilities";
    if (syscall(SYS_capset, &header, none) < 0)
        return "capset";
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return "no_new_privs";

    uid_t uids[3];
    gid_t gids[3];
    errno = EPERM;
    if (syscall(SYS_capget, &header, now) < 0 || memcmp(now, none, sizeof none) || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
        return "verifying capabilities";
    if (user.given) {
        if (getresuid(&uids[0], &uids[1], &uids[2]) < 0 || getresgid(&gids[0], &gids[1], &gids[2]) < 0 || getgroups(0, NULL) != 0)
            return "verifying ids";
        for (int i = 0; i < 3; i++)
            if (uids[i] != user.uid || gids[i] != user.gid)
                return "verifying ids";
    }
    return NULL;
}

/* A process may lower its oom_score_adj again, down to what a privileged one has set last: to ours, unless we are one. So only these
 * places may be written to; the others that there are are read-only, but /proc. A kernel without Landlock leaves that open. */
static const char *keep_out_of_proc(void) {
    static const char *const writable[] = {"/tmp", "/dev"};
    /* handled and allowed: else nothing could be moved from one directory to another */
    struct landlock_ruleset_attr attributes = {.handled_access_fs = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REFER};
    if (!user.given || syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) < 2)
        return NULL;
    int rules = (int)syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes.handled_access_fs, 0);
    if (rules < 0)
        return "landlock";
    for (size_t i = 0; i < sizeof writable / sizeof *writable; i++) {
        struct landlock_path_beneath_attr rule = {.allowed_access = attributes.handled_access_fs};
        if ((rule.parent_fd = open(writable[i], O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0)
            continue; /* then nobody writes there */
        if (syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
            return "landlock";
        close(rule.parent_fd);
    }
    if (syscall(SYS_landlock_restrict_self, rules, 0) < 0)
        return "landlock";
    close(rules);
    return NULL;
}

static const char *limit_resources(void) {
    struct rlimit files = {1024, 1024}, core = {0, 0};
    if (setrlimit(RLIMIT_NOFILE, &files) < 0 || setrlimit(RLIMIT_CORE, &core) < 0)
        return "setrlimit";
    return NULL;
}

/* By the system call: the C library keeps its hands on signals 32 and 33, which whoever started us may have ignored. */
static void default_signals(void) {
    static const uint64_t by_default[4]; /* the kernel's struct sigaction: SIG_DFL, no flags, nothing masked */
    sigset_t none;
    for (int signum = 1; signum <= 64; signum++)
        syscall(SYS_rt_sigaction, signum, by_default, NULL, sizeof(uint64_t));
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Returns the step that failed, errno set; does not return when all went well. */
static const char *become(uint8_t role, int *status, const char *cwd, char **argv, char **environment) {
    const char *step;
    if (setsid() < 0)
        return "setsid";
    if (!machine_join_group())
        return "cgroup";
    if ((step = arrange_fds(role, status)) || (step = volunteer_for_oom()) || (step = limit_resources()) || (step = drop_privileges()) ||
        (step = keep_out_of_proc()))
        return step;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != self)
        return "parent";
    if (chdir(cwd) < 0)
        return "chdir";
    default_signals();
    execve(argv[0], argv, environment);
    return "exec";
}

/* --- in the agent -------------------------------------------------------------------------------------------------- */

static void say_failed(uint8_t role, int error, const char *step) {
    uint8_t body[9 + sizeof(((struct failure *)0)->step)] = {role, (uint8_t)error, (uint8_t)(error >> 8)};
    size_t length = strnlen(step, sizeof body - 9);
    body[5] = (uint8_t)length;
    memcpy(body + 9, step, length);
    control_send('F', body, 9 + length);
}

void process_start(uint8_t id, const char *cwd, char **argv, char **environment) {
    struct role *role = &roles[id];
    int ends[2];
    if (role->pid || !argv[0]) {
        say_failed(id, role->pid ? EBUSY : EINVAL, role->pid ? "role" : "argv");
        return;
    }
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) {
        say_failed(id, errno, "pipe");
        return;
    }
    pid_t pid = fork();
    if (pid == 0) {
        struct failure failure = {0};
        int status = ends[1];
        const char *step = become(id, &status, cwd, argv, environment);
        failure.error = errno;
        strncpy(failure.step, step, sizeof failure.step - 1);
        _exit(write(status, &failure, sizeof failure) == (ssize_t)sizeof failure ? 127 : 126);
    }
    int error = errno;
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        say_failed(id, error, "fork");
        return;
    }
    *role = (struct role){.pid = pid, .status = ends[0], .slot = -1};
}

/* The status pipe has something to say: started, or failed. */
static void settle(uint8_t id) {
    struct role *role = &roles[id];
    struct failure failure;
    ssize_t got = read(role->status, &failure, sizeof failure);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    close(role->status);
    role->status = -1;
    if (got == (ssize_t)sizeof failure) {
        failure.step[sizeof failure.step - 1] = 0;
        role->pid = 0; /* it is about to exit, and is reaped as nobody's */
        say_failed(id, failure.error, failure.step);
    } else {
        uint32_t pid = (uint32_t)role->pid;
        uint8_t body[5] = {id, (uint8_t)pid, (uint8_t)(pid >> 8), (uint8_t)(pid >> 16), (uint8_t)(pid >> 24)};
        control_send('P', body, sizeof body);
    }
}

/* True when there is nobody left to wait for. A storm of orphans must not keep the host from being heard: a part at a time. */
static bool reap(void) {
    int status;
    pid_t pid = 1;
    for (int turn = 0; turn < 256 && (pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0; turn++) {
        for (uint8_t id = 0; id < ROLE_COUNT; id++) {
            if (roles[id].pid != pid)
                continue;
            if (roles[id].status >= 0)
                settle(id); /* it is dead, so the pipe is closed: P or F always comes before X */
            if (!roles[id].pid)
                break;
            roles[id].pid = 0;
            bool killed = WIFSIGNALED(status);
            machine_report_memory(LOOK_AT_DEATH); /* before the exit: it tells why */
            uint8_t body[3 + 8] = {id, killed, (uint8_t)(killed ? WTERMSIG(status) : WEXITSTATUS(status))};
            uint64_t bytes = 0;
            bool counted = id == ROLE_RUNTIME && channels_runtime_read(&bytes);
            for (int i = 0; i < 8; i++)
                body[3 + i] = (uint8_t)(bytes >> 8 * i);
            control_send('X', body, counted ? sizeof body : 3);
            break;
        }
    }
    more_to_reap = pid > 0;
    return pid < 0 && errno == ECHILD;
}

void process_signal(uint8_t role, int signum) {
    if (roles[role].pid) /* not reaped yet, so the number is still its own */
        kill(roles[role].pid, signum);
}

/* Not PID 1: kill the groups at one stroke, then whoever has left them and come to us, their reaper. */
static void kill_descendants(void) {
    static char list[64 * 1024];
    char path[64];
    for (int i = 0; i < ROLE_COUNT; i++)
        if (roles[i].pid) {
            kill(-roles[i].pid, SIGKILL);
            kill(roles[i].pid, SIGKILL); /* before its setsid there is no group */
        }
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)self);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t got = read(fd, list, sizeof list - 1);
    close(fd);
    list[got > 0 ? got : 0] = 0;
    char *last = strrchr(list, ' '); /* every number ends with a space; one cut short is not a number to kill */
    if (last)
        *last = 0;
    for (char *at = list, *end; last; at = end) {
        long pid = strtol(at, &end, 10);
        if (end == at)
            break;
        if (pid > 1)
            kill((pid_t)pid, SIGKILL);
    }
}

static void kill_everything(void) {
    if (self == 1)
        kill(-1, SIGKILL); /* in one stroke: a fork in progress fails */
    else
        kill_descendants();
}

void process_kill_all(void) {
    killing = more_to_reap = true;
    pause_ms = KILL_PAUSE_MS;
    kill_everything();
}

bool process_killing(void) { return killing; }

pid_t process_of(uint8_t role) { return roles[role].pid; }

/* While killing, look again soon: a process that was just forked must die too. As PID 1 nothing escapes the first stroke, and whoever
 * dies says so: there looking must not take the time from those who have much to give back. */
int process_patience_ms(void) { return more_to_reap ? 0 : killing ? pause_ms : -1; }

void process_watch(void) {
    for (int i = 0; i < ROLE_COUNT; i++)
        roles[i].slot = roles[i].status >= 0 ? watch(roles[i].status, POLLIN) : -1;
}

void process_turn(void) {
    for (uint8_t id = 0; id < ROLE_COUNT; id++)
        if (roles[id].status >= 0 && ready(roles[id].slot))
            settle(id);
    if (killing) {
        kill_everything();
        if (self == 1 && pause_ms < KILL_PAUSE_MOST_MS)
            pause_ms *= 2;
    }
    if (reap() && killing) {
        killing = false;
        control_send('k', NULL, 0);
    }
}

/* The host has gone: nothing of the sandbox stays. As PID 1, exiting would do; a process stuck in the kernel is not waited for. */
void process_end(void) {
    for (int turn = 0; turn < 1000; turn++) {
        kill_everything();
        for (pid_t pid = 1; pid > 0;)
            if ((pid = waitpid(-1, NULL, WNOHANG | __WALL)) < 0)
                return;
        poll(NULL, 0, turn < 20 ? 1 : 5);
    }
}
