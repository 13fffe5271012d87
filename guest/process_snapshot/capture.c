/* Capture: the process of a runtime stops all its threads at known places, and notes what only it can read of itself.
 *
 * A library that the bundled bootstrap loads. The host then reads the memory of the process; `capture` returns 1 in every copy of it.
 */
#include "process_snapshot.h"

extern const ptrdiff_t __rseq_offset __attribute__((weak)); /* of glibc since 2.35 */
extern const unsigned __rseq_size __attribute__((weak));

enum { STOP_SIGNAL = 64, SA_SIGINFO_ = 4, SA_RESTORER = 0x04000000, SA_RESTART_ = 0x10000000, MSG_PEEK_ = 2 };

__attribute__((returns_twice)) int save_context(struct context *into);
__asm__(".text\n.hidden save_context\n.type save_context, @function\nsave_context:\n"
        "movq %rbx, 0(%rdi)\n movq %rbp, 8(%rdi)\n movq %r12, 16(%rdi)\n movq %r13, 24(%rdi)\n movq %r14, 32(%rdi)\n movq %r15, 40(%rdi)\n"
        "leaq 8(%rsp), %rax\n movq %rax, 48(%rdi)\n movq (%rsp), %rax\n movq %rax, 56(%rdi)\n"
        "stmxcsr 64(%rdi)\n fnstcw 68(%rdi)\n xorl %eax, %eax\n ret\n.size save_context, .-save_context\n");

void return_from_signal(void);
__asm__(".text\n.hidden return_from_signal\n.type return_from_signal, @function\nreturn_from_signal:\n movl $15, %eax\n syscall\n");

int refuse(const char *reason) {
    long at = CALL(SYS_MMAP, STATE_ADDRESS, STATE_BYTES, PROT_R | PROT_W, PRIVATE | ANONYMOUS | NOREPLACE, -1, 0);
    if (at != (long)STATE_ADDRESS && STATE->magic != STATE_MAGIC)
        return 0;
    STATE->magic = STATE_MAGIC;
    for (int i = 0; i < REASON_BYTES - 1 && reason[i]; i++)
        STATE->reason[i] = reason[i];
    return 0;
}

/* False: without CONFIG_CHECKPOINT_RESTORE nobody knows where the C library keeps the number of the thread. */
static int note_thread(struct thread *thread) {
    CALL(SYS_ARCH_PRCTL, ARCH_GET_FS, &thread->fs_base);
    CALL(SYS_GET_ROBUST_LIST, 0, &thread->robust_list, &thread->robust_bytes);
    long known = CALL(SYS_PRCTL, PR_GET_TID_ADDRESS, &thread->tid_address);
    CALL(SYS_PRCTL, PR_GET_NAME, thread->name);
    CALL(SYS_SIGALTSTACK, 0, &thread->altstack);
    thread->tid = (uint32_t)CALL(SYS_GETTID, 0);
    if (&__rseq_size && __rseq_size) {
        thread->rseq_address = thread->fs_base + (uint64_t)__rseq_offset;
        thread->rseq_bytes = __rseq_size < 32 ? 32 : __rseq_size;
    }
    return known >= 0;
}

static void wait_for_go(void) {
    while (!__atomic_load_n(&STATE->go, __ATOMIC_ACQUIRE))
        CALL(SYS_FUTEX, &STATE->go, FUTEX_WAIT, 0, 0);
}

static void stop(int signum, void *info, void *where) {
    (void)signum, (void)info, (void)where;
    long tid = CALL(SYS_GETTID, 0);
    for (uint32_t i = 1; i < STATE->thread_count; i++) {
        struct thread *thread = &STATE->threads[i];
        if (thread->tid != tid)
            continue;
        note_thread(thread);
        signal_mask(0, &thread->signal_mask);
        __atomic_add_fetch(save_context(&thread->context) ? &STATE->returned : &STATE->arrived, 1, __ATOMIC_RELEASE);
        wait_for_go();
        return;
    }
}

static int list_threads(void) {
    static char entries[32 * 1024];
    long self = CALL(SYS_GETTID, 0), got;
    int fd = (int)CALL(SYS_OPEN, "/proc/self/task", 0200000 | 02000000);
    if (fd < 0)
        return -1;
    while ((got = CALL(SYS_GETDENTS64, fd, entries, sizeof entries)) > 0)
        for (long at = 0; at < got; at += *(uint16_t *)(entries + at + 16)) {
            uint32_t tid = 0;
            for (const char *digit = entries + at + 19; *digit >= '0' && *digit <= '9'; digit++)
                tid = tid * 10 + (uint32_t)(*digit - '0');
            if (!tid || tid == self)
                continue;
            if (STATE->thread_count == THREADS_MAX)
                return -1;
            STATE->threads[STATE->thread_count++].tid = tid;
        }
    CALL(SYS_CLOSE, fd);
    return got < 0 ? -1 : 0;
}

static int wait_for_threads(const uint32_t *counter, int64_t pause_ns, int attempts) {
    const int64_t pause[2] = {0, pause_ns};
    for (; __atomic_load_n(counter, __ATOMIC_ACQUIRE) < STATE->thread_count - 1; attempts--) {
        if (attempts <= 0)
            return -1;
        CALL(SYS_NANOSLEEP, pause, 0);
    }
    return 0;
}

static int stop_threads(void) {
    struct kernel_sigaction action = {(uint64_t)stop, SA_SIGINFO_ | SA_RESTART_ | SA_RESTORER, (uint64_t)return_from_signal, ~0UL};
    if (STATE->thread_count == 1)
        return 0;
    CALL(SYS_RT_SIGACTION, STOP_SIGNAL, &action, 0, 8);
    long pid = CALL(SYS_GETPID, 0);
    for (uint32_t i = 1; i < STATE->thread_count; i++)
        if (CALL(SYS_TGKILL, pid, STATE->threads[i].tid, STOP_SIGNAL) < 0)
            return -1;
    return wait_for_threads(&STATE->arrived, 1000000, 1000);
}

/* Stop, say `frame` on the descriptor `channel`, and wait for a word there. 1: this is a copy; 0: there can be none, see `reason`. */
int capture(int channel, const void *frame, size_t length) {
    uint64_t all = ~0UL;
    struct thread *self = &STATE->threads[0];
    char byte;
    refuse("");
    if (STATE->magic != STATE_MAGIC || STATE->thread_count)
        return 0;
    for (int i = 0; i < SIGNALS; i++)
        CALL(SYS_RT_SIGACTION, i + 1, 0, &STATE->actions[i], 8);
    STATE->umask = (uint32_t)CALL(SYS_UMASK, 077);
    CALL(SYS_UMASK, STATE->umask);
    STATE->thread_count = 1;
    if (!note_thread(self))
        return refuse("this kernel was built without CONFIG_CHECKPOINT_RESTORE");
    signal_mask(&all, &self->signal_mask);
    if (list_threads() < 0 || stop_threads() < 0) {
        refuse("a thread of the process cannot be stopped");
        signal_mask(&self->signal_mask, 0);
        STATE->go = 1;
        return 0;
    }
    if (save_context(&self->context)) {
        if (wait_for_threads(&STATE->returned, 20000, 100000) < 0) /* none is in the restorer any more */
            return 0;
        CALL(SYS_MUNMAP, RESTORER_ADDRESS, RESERVED_END - RESTORER_ADDRESS);
        return 1;
    }
    CALL(SYS_SENDTO, channel, frame, length, 0, 0, 0);
    while (CALL(SYS_RECVFROM, channel, &byte, 1, MSG_PEEK_, 0, 0) == -4)
        ;
    signal_mask(&self->signal_mask, 0);
    STATE->go = 1;
    CALL(SYS_FUTEX, &STATE->go, FUTEX_WAKE, THREADS_MAX);
    return 1; /* the process itself goes on */
}

/* Let signals in, and the other threads of a copy go on. */
void resume(void) {
    signal_mask(&STATE->threads[0].signal_mask, 0);
    __atomic_store_n(&STATE->go, 1, __ATOMIC_RELEASE);
    CALL(SYS_FUTEX, &STATE->go, FUTEX_WAKE, THREADS_MAX);
}
