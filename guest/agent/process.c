/* The processes of the sandbox: start, signal, kill, reap. As PID 1 these are all processes there are; else the agent's descendants. */
#include "process.h"
#include "cgroup.h"
#include "channels.h"
#include "child.h"
#include "control.h"
#include "loop.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

enum { KILL_PAUSE_MS = 5, KILL_PAUSE_MAX_MS = 160, REAPED_MAX = 256 /* in one turn */, END_TURNS = 1000 };

struct role {
    pid_t pid;
    int status; /* pipe that closes when exec succeeds and has a `struct failure` when it does not; -1: read */
    int slot;
};

struct failure {
    int error;
    char step[28];
};

static struct role roles[ROLE_COUNT];
static pid_t agent_pid;
static bool killing;
static int pause_ms; /* between two kills */
static bool more_to_reap;

void process_setup(struct user user) {
    agent_pid = getpid();
    child_setup(user);
    for (int i = 0; i < ROLE_COUNT; i++)
        roles[i].status = -1;
    /* else a function could not open /dev/stdout; where the agent may not, the driver has done it */
    if (user.given && fchown(LOG_FD, user.uid, user.gid) < 0 && errno != EPERM && errno != EINVAL)
        die("fchown");
}

static void set_pid(uint8_t id, pid_t pid) {
    roles[id].pid = pid;
    cgroup_set_process(id, pid);
}

/* --- start --------------------------------------------------------------------------------------------------------- */

static void send_failed(uint8_t role, int error, const char *step) {
    uint8_t body[9 + sizeof(((struct failure *)0)->step)] = {role, (uint8_t)error, (uint8_t)(error >> 8)};
    size_t length = strnlen(step, sizeof body - 9);
    body[5] = (uint8_t)length;
    memcpy(body + 9, step, length);
    control_send('F', body, 9 + length);
}

void process_start(uint8_t id, int output, const char *cwd, char **argv, char **environment) {
    struct role *role = &roles[id];
    int ends[2];
    if (role->pid || !argv[0]) {
        send_failed(id, role->pid ? EBUSY : EINVAL, role->pid ? "role" : "argv");
        return;
    }
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) {
        send_failed(id, errno, "pipe");
        return;
    }
    pid_t pid = fork();
    if (pid == 0) {
        struct failure failure = {0};
        int status = ends[1];
        const char *step = child_exec(id, &status, output, cwd, argv, environment);
        failure.error = errno;
        strncpy(failure.step, step, sizeof failure.step - 1);
        _exit(write(status, &failure, sizeof failure) == (ssize_t)sizeof failure ? 127 : 126);
    }
    int error = errno;
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        send_failed(id, error, "fork");
        return;
    }
    *role = (struct role){.status = ends[0], .slot = -1};
    set_pid(id, pid);
}

/* The status pipe is readable: the program was started, or it failed. */
static void read_start_result(uint8_t id) {
    struct role *role = &roles[id];
    struct failure failure;
    ssize_t got = read(role->status, &failure, sizeof failure);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    close(role->status);
    role->status = -1;
    if (got == (ssize_t)sizeof failure) {
        failure.step[sizeof failure.step - 1] = 0;
        set_pid(id, 0); /* it is about to exit, and is reaped without a message */
        send_failed(id, failure.error, failure.step);
    } else {
        uint32_t pid = (uint32_t)role->pid;
        uint8_t body[5] = {id, (uint8_t)pid, (uint8_t)(pid >> 8), (uint8_t)(pid >> 16), (uint8_t)(pid >> 24)};
        control_send('P', body, sizeof body);
    }
}

/* --- reap ---------------------------------------------------------------------------------------------------------- */

static void send_exit(uint8_t id, int status) {
    bool killed = WIFSIGNALED(status);
    uint8_t body[3 + 8] = {id, killed, (uint8_t)(killed ? WTERMSIG(status) : WEXITSTATUS(status))};
    uint64_t bytes = 0;
    bool counted = id == ROLE_RUNTIME && channels_count_runtime_read(&bytes);
    cgroup_report_memory(SCAN_FOOTPRINT_AND_KILLS); /* before the exit: it tells why */
    for (int i = 0; i < 8; i++)
        body[3 + i] = (uint8_t)(bytes >> 8 * i);
    control_send('X', body, counted ? sizeof body : 3);
}

static void note_exit(pid_t pid, int status) {
    for (uint8_t id = 0; id < ROLE_COUNT; id++) {
        if (roles[id].pid != pid)
            continue;
        if (roles[id].status >= 0)
            read_start_result(id); /* it is dead, so the pipe is closed: P or F always comes before X */
        if (roles[id].pid) {
            set_pid(id, 0);
            send_exit(id, status);
        }
        return;
    }
}

/* True when no process is left. So many at once at most, so that the host is heard in a storm of orphans. */
static bool reap(void) {
    int status;
    pid_t pid = 1;
    for (int count = 0; count < REAPED_MAX && (pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0; count++)
        note_exit(pid, status);
    more_to_reap = pid > 0;
    return pid < 0 && errno == ECHILD;
}

/* --- signal and kill ----------------------------------------------------------------------------------------------- */

void process_signal(uint8_t role, int signum) {
    if (roles[role].pid) /* not reaped yet, so the number is still its own */
        kill(roles[role].pid, signum);
}

/* Not PID 1: kill the process groups, then what has left them and is the agent's child by now, as it is their subreaper. */
static void kill_descendants(void) {
    static char list[64 * 1024];
    char path[64];
    for (int i = 0; i < ROLE_COUNT; i++)
        if (roles[i].pid) {
            kill(-roles[i].pid, SIGKILL);
            kill(roles[i].pid, SIGKILL); /* before its setsid there is no group */
        }
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)agent_pid);
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
    if (agent_pid == 1)
        kill(-1, SIGKILL); /* a fork in progress fails */
    else
        kill_descendants();
}

void process_kill_all(void) {
    killing = more_to_reap = true;
    pause_ms = KILL_PAUSE_MS;
    kill_everything();
}

bool process_is_killing(void) { return killing; }

/* --- the loop ------------------------------------------------------------------------------------------------------ */

/* While killing, look again soon: a process that was just forked must die too. As PID 1 the first kill reaches all, and each death wakes
 * the loop: there the pauses grow, so that processes with much memory to free get the time. */
int process_timeout_ms(void) { return more_to_reap ? 0 : killing ? pause_ms : -1; }

void process_watch(void) {
    for (int i = 0; i < ROLE_COUNT; i++)
        roles[i].slot = roles[i].status >= 0 ? loop_watch(roles[i].status, POLLIN) : -1;
}

void process_turn(void) {
    for (uint8_t id = 0; id < ROLE_COUNT; id++)
        if (roles[id].status >= 0 && loop_ready(roles[id].slot))
            read_start_result(id);
    if (killing) {
        kill_everything();
        if (agent_pid == 1 && pause_ms < KILL_PAUSE_MAX_MS)
            pause_ms *= 2;
    }
    if (reap() && killing) {
        killing = false;
        control_send('k', NULL, 0);
    }
}

/* As PID 1, exiting would do. A process that is stuck in the kernel is not waited for. */
void process_end(void) {
    for (int turn = 0; turn < END_TURNS; turn++) {
        kill_everything();
        for (pid_t pid = 1; pid > 0;)
            if ((pid = waitpid(-1, NULL, WNOHANG | __WALL)) < 0)
                return;
        poll(NULL, 0, turn < 20 ? 1 : 5);
    }
}
