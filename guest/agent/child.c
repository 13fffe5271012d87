/* What a new process does between fork and exec: its descriptors, its rights, its limits. */
#include "child.h"
#include "cgroup.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static struct user user;
static pid_t agent_pid;
static int null_fd;

void child_setup(struct user function) {
    user = function;
    agent_pid = getpid();
    if ((null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) < 0)
        die("/dev/null");
}

static const char *set_descriptors(uint8_t role, int *status, int output) {
    if (dup2(null_fd, 0) < 0 || dup2(output < 0 ? LOG_FD : output, 1) < 0 || dup2(1, 2) < 0)
        return "dup";
    if (dup3(*status, CONTROL_FD, O_CLOEXEC) < 0)
        return "dup";
    *status = CONTROL_FD;
    if (role == ROLE_RUNTIME ? fcntl(RUNTIME_FD, F_SETFD, 0) < 0 : close(RUNTIME_FD) < 0)
        return "runtime channel";
    if (role == ROLE_RUNTIME && fcntl(LOG_FD, F_SETFD, 0) < 0)
        return "log";
    return syscall(SYS_close_range, role == ROLE_RUNTIME ? LOG_FD + 1 : LOG_FD, ~0U, 0) < 0 ? "close_range" : NULL;
}

/* The runtime writes framed records to LOG_FD: opened anew, since Node.js makes its stdout non-blocking, and what shares its opening with it. */
static void reopen_log(uint8_t role) {
    char path[32];
    if (role != ROLE_RUNTIME)
        return;
    snprintf(path, sizeof path, "/proc/self/fd/%d", LOG_FD);
    int own = open(path, O_WRONLY);
    if (own < 0)
        return; /* then they share it */
    dup2(own, LOG_FD);
    close(own);
}

/* Memory runs out in the function, never in the agent. A process that is not dumpable may not write this file. */
static const char *raise_oom_score(void) {
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

/* A process may lower its oom_score_adj again, down to what a privileged one has set last: to the agent's, unless the agent is one. So
 * only these directories may be written to; all others are read-only, but /proc. A kernel without Landlock leaves that open. */
static const char *restrict_writes(void) {
    static const char *const writable[] = {"/tmp", "/dev", "/mnt"};
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

/* Whether a core dump becomes a file in the sandbox. Else the kernel starts a program of the host's for it, even if its size is limited
 * to 0; only with 1 it does not. */
static bool dumps_to_a_file(void) {
    char first = '|';
    int fd = open("/proc/sys/kernel/core_pattern", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool whole = read(fd, &first, 1) == 1;
    close(fd);
    return whole && first != '|' && first != '@';
}

/* A limit that may not be raised is left where it is. */
static bool set_limit(int resource, rlim_t soft, rlim_t hard) {
    struct rlimit now, wanted = {soft, hard};
    if (setrlimit(resource, &wanted) == 0)
        return true;
    if (getrlimit(resource, &now) < 0)
        return false;
    wanted.rlim_max = hard < now.rlim_max ? hard : now.rlim_max;
    wanted.rlim_cur = soft < wanted.rlim_max ? soft : wanted.rlim_max;
    return setrlimit(resource, &wanted) == 0;
}

/* Lambda's, as recorded there in November 2025. Processes are counted for each user: only a user of its own may be limited. */
static const char *set_limits(void) {
    rlim_t core = dumps_to_a_file() ? 10737418240 : 1;
    bool set = set_limit(RLIMIT_NOFILE, 1024, 1024) && set_limit(RLIMIT_CORE, core, core) && set_limit(RLIMIT_MEMLOCK, 65536, 65536) &&
               set_limit(RLIMIT_STACK, 8388608, RLIM_INFINITY) && (!user.given || set_limit(RLIMIT_NPROC, 1024, 1024));
    return set ? NULL : "setrlimit";
}

/* By the system call: the C library does not let signals 32 and 33 be set, which the agent may have inherited ignored. */
static void reset_signals(void) {
    static const uint64_t by_default[4]; /* the kernel's struct sigaction: SIG_DFL, no flags, nothing masked */
    sigset_t none;
    for (int signum = 1; signum <= 64; signum++)
        syscall(SYS_rt_sigaction, signum, by_default, NULL, sizeof(uint64_t));
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

const char *child_exec(uint8_t role, int *status, int output, const char *cwd, char **argv, char **environment) {
    const char *step;
    if (setsid() < 0)
        return "setsid";
    if (!cgroup_join())
        return "cgroup";
    if ((step = set_descriptors(role, status, output)) || (step = raise_oom_score()) || (step = set_limits()) || (step = drop_privileges()))
        return step;
    reopen_log(role);
    if ((step = restrict_writes()))
        return step;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != agent_pid)
        return "parent";
    if (chdir(cwd) < 0)
        return "chdir";
    reset_signals();
    execve(argv[0], argv, environment);
    return "exec";
}
