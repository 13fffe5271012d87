/* Restore: a program that becomes a copy of a captured process, inside another sandbox, with no rights but that sandbox's own.
 *
 * On descriptor 4 it gets one byte with two descriptors: the plan (what is mapped where) and the pages. It replaces its own memory by that,
 * says one byte there, makes the threads, and goes on where `capture` stopped. Linked at RESTORER_ADDRESS, where nothing else is mapped.
 */
#include "process_snapshot.h"

enum { CHANNEL = 4, STACK_BYTES = 16 * 1024, SOURCE_ANONYMOUS = 0, SOURCE_PAGES = 1, SOURCE_FILE = 2, SOURCE_READ = 3 };
enum { CLONE_FLAGS = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000 /* VM FS FILES SIGHAND THREAD SYSVSEM */, MREMAP_MOVE = 3 };
#define PLAN_MAGIC 0x31304e4c50414e48UL
#define ADDRESSES_END 0x7ffffffff000UL

struct area {
    uint64_t start, bytes, offset;
    uint32_t prot, flags, source, path; /* path: offset of its file's name in the plan; of one without a file, what madvise is told of it */
};

struct special { /* [vdso] and what belongs to it: the kernel's, so they are moved */
    uint64_t start, bytes;
};

struct memory_map { /* struct prctl_mm_map of the kernel */
    uint64_t start_code, end_code, start_data, end_data, start_brk, brk, start_stack, arg_start, arg_end, env_start, env_end, auxv;
    uint32_t auxv_size, exe_fd;
};

struct plan {
    uint64_t magic, bytes;
    uint32_t area_count, special_count;
    struct special special[8];
    struct memory_map memory_map;
    struct area areas[];
};

static uint8_t stack[STACK_BYTES] __attribute__((aligned(64), used));
static uint8_t thread_stacks[THREADS_MAX][1024] __attribute__((aligned(64)));
static char text[64 * 1024];

static void fail(const char *what) {
    char line[64];
    size_t length = 0;
    for (const char *from = "hanabi-restore: "; *from; from++)
        line[length++] = *from;
    for (; *what && length < sizeof line - 1; what++)
        line[length++] = *what;
    line[length++] = '\n';
    CALL(1, 2, line, length);
    CALL(SYS_EXIT_GROUP, 70);
    __builtin_unreachable();
}

static void receive(int fds[2]) {
    struct {
        uint64_t length;
        int32_t level, type;
        int32_t fds[2];
    } rights = {0};
    struct {
        void *base;
        uint64_t length;
    } vector;
    struct {
        void *name;
        uint32_t name_length, pad;
        void *vector;
        uint64_t vectors;
        void *control;
        uint64_t control_length;
        int32_t flags;
    } message = {0};
    char byte;
    vector.base = &byte, vector.length = 1;
    message.vector = &vector, message.vectors = 1, message.control = &rights, message.control_length = sizeof rights;
    if (CALL(SYS_RECVMSG, CHANNEL, &message, 0) != 1 || rights.length != 24 || rights.level != 1 || rights.type != 1)
        fail("descriptors");
    fds[0] = rights.fds[0], fds[1] = rights.fds[1];
}

static const struct plan *map_plan(int fd) {
    long bytes = CALL(SYS_LSEEK, fd, 0, 2);
    if (bytes < (long)sizeof(struct plan) || CALL(SYS_MMAP, PLAN_ADDRESS, bytes, PROT_R, PRIVATE | NOREPLACE, fd, 0) != (long)PLAN_ADDRESS)
        fail("plan");
    const struct plan *plan = (const struct plan *)PLAN_ADDRESS;
    if (plan->magic != PLAN_MAGIC || plan->bytes != (uint64_t)bytes)
        fail("plan");
    return plan;
}

static uint64_t read_hex(const char **at) {
    uint64_t value = 0;
    for (;; (*at)++) {
        char digit = **at;
        if (digit >= '0' && digit <= '9')
            value = value << 4 | (uint64_t)(digit - '0');
        else if (digit >= 'a' && digit <= 'f')
            value = value << 4 | (uint64_t)(digit - 'a' + 10);
        else
            return value;
    }
}

/* Whether a line of /proc/self/maps ends with "[vvar]", "[vvar_vclock]", "[vdso]" ... */
static int is_special(const char *line) {
    for (; *line && *line != '\n'; line++)
        if (line[0] == '[' && line[1] == 'v' && (line[2] == 'v' || line[2] == 'd'))
            return 1;
    return 0;
}

/* Put the kernel's own mappings where the memory of the copy has nothing. Returns how many there are. */
static uint32_t park_special(const struct plan *plan) {
    uint64_t parking = PARKING_ADDRESS;
    uint32_t count = 0;
    long length = 0, got;
    int fd = (int)CALL(SYS_OPEN, "/proc/self/maps", 02000000);
    while ((got = CALL(SYS_READ, fd, text + length, sizeof text - 1 - (size_t)length)) > 0)
        length += got;
    CALL(SYS_CLOSE, fd);
    for (const char *at = text; *at;) {
        const char *line = at;
        uint64_t start = read_hex(&at);
        at++;
        uint64_t bytes = read_hex(&at) - start;
        if (is_special(line)) {
            if (count >= plan->special_count || plan->special[count].bytes != bytes)
                fail("another kernel");
            if (CALL(SYS_MREMAP, start, bytes, bytes, MREMAP_MOVE, parking) != (long)parking)
                fail("moving the vdso");
            parking += bytes;
            count++;
        }
        while (*at && *at++ != '\n')
            ;
    }
    if (count != plan->special_count)
        fail("another kernel");
    return count;
}

static void unpark_special(const struct plan *plan) {
    uint64_t parking = PARKING_ADDRESS;
    for (uint32_t i = 0; i < plan->special_count; i++) {
        const struct special *special = &plan->special[i];
        if (CALL(SYS_MREMAP, parking, special->bytes, special->bytes, MREMAP_MOVE, special->start) != (long)special->start)
            fail("moving the vdso");
        parking += special->bytes;
    }
}

static void map_areas(const struct plan *plan, int pages) {
    uint32_t open_path = 0;
    int file = -1;
    for (uint32_t i = 0; i < plan->area_count; i++) {
        const struct area *area = &plan->areas[i];
        int fd = -1;
        if (area->source == SOURCE_PAGES)
            fd = pages;
        else if (area->source == SOURCE_FILE) {
            if (area->path != open_path) {
                CALL(SYS_CLOSE, file);
                open_path = area->path;
                if ((file = (int)CALL(SYS_OPEN, (const char *)plan + area->path, 02000000)) < 0)
                    fail((const char *)plan + area->path);
            }
            fd = file;
        }
        uint32_t prot = area->source == SOURCE_READ ? PROT_R | PROT_W : area->prot;
        long at = CALL(SYS_MMAP, area->start, area->bytes, prot, area->flags, fd, fd < 0 ? 0 : area->offset);
        if (at != (long)area->start)
            fail("mapping the memory");
        if (area->source == SOURCE_ANONYMOUS && area->path && CALL(SYS_MADVISE, area->start, area->bytes, area->path) < 0)
            fail("madvise");
        for (uint64_t done = 0; area->source == SOURCE_READ && done < area->bytes;) {
            long got = CALL(SYS_PREAD, pages, area->start + done, area->bytes - done, area->offset + done);
            if (got <= 0)
                fail("reading the memory");
            done += (uint64_t)got;
        }
        if (area->source == SOURCE_READ && area->prot != (PROT_R | PROT_W) && CALL(10, area->start, area->bytes, area->prot) < 0)
            fail("protecting the memory");
    }
    CALL(SYS_CLOSE, file);
}

static _Noreturn void load_context(const struct context *context) {
    __asm__ volatile("ldmxcsr 64(%0)\n fldcw 68(%0)\n movq 0(%0), %%rbx\n movq 8(%0), %%rbp\n movq 16(%0), %%r12\n movq 24(%0), %%r13\n"
                     "movq 32(%0), %%r14\n movq 40(%0), %%r15\n movq 48(%0), %%rsp\n movl $1, %%eax\n jmpq *56(%0)"
                     :
                     : "D"(context)
                     : "memory");
    __builtin_unreachable();
}

/* Become that thread. */
static _Noreturn void become(struct thread *thread) {
    uint64_t all = ~0UL;
    signal_mask(&all, 0);
    CALL(SYS_ARCH_PRCTL, ARCH_SET_FS, thread->fs_base);
    if (thread->tid_address) {
        uint32_t tid = (uint32_t)CALL(SYS_SET_TID_ADDRESS, thread->tid_address);
        if (*(uint32_t *)thread->tid_address == thread->tid) /* where the C library keeps it */
            *(uint32_t *)thread->tid_address = tid;
    }
    if (thread->robust_list)
        CALL(SYS_SET_ROBUST_LIST, thread->robust_list, thread->robust_bytes);
    if (thread->rseq_bytes)
        CALL(SYS_RSEQ, thread->rseq_address, thread->rseq_bytes, 0, RSEQ_SIGNATURE);
    if (thread->altstack.size)
        CALL(SYS_SIGALTSTACK, &thread->altstack, 0);
    CALL(SYS_PRCTL, PR_SET_NAME, thread->name);
    load_context(&thread->context);
}

/* The new thread begins on a stack of its own, with the thread that it becomes on top of it. */
long make_thread(uint64_t flags, void *stack_top);
__attribute__((used)) _Noreturn static void begin_thread(struct thread *thread) { become(thread); }
__asm__(".text\n.type make_thread, @function\nmake_thread:\n movl $56, %eax\n xorl %edx, %edx\n xorl %r10d, %r10d\n xorl %r8d, %r8d\n syscall\n"
        "testq %rax, %rax\n jz 1f\n ret\n1: popq %rdi\n xorl %ebp, %ebp\n andq $-16, %rsp\n call begin_thread\n hlt\n");

static void make_threads(void) {
    for (uint32_t i = 1; i < STATE->thread_count; i++) {
        uint64_t *top = (uint64_t *)(thread_stacks[i] + sizeof thread_stacks[i] - 64);
        *top = (uint64_t)&STATE->threads[i];
        if (make_thread(CLONE_FLAGS, top) < 0)
            fail("threads");
    }
}

__attribute__((used)) _Noreturn static void restore(void) {
    int fds[2];
    uint64_t all = ~0UL;
    signal_mask(&all, 0);
    receive(fds);
    const struct plan *plan = map_plan(fds[0]);
    park_special(plan);
    if (CALL(SYS_MUNMAP, 0, STATE_ADDRESS) < 0 || CALL(SYS_MUNMAP, RESERVED_END, ADDRESSES_END - RESERVED_END) < 0)
        fail("unmapping");
    map_areas(plan, fds[1]);
    unpark_special(plan);
    CALL(SYS_PRCTL, PR_SET_MM, PR_SET_MM_MAP, &plan->memory_map, sizeof plan->memory_map, 0); /* where it can: sizes of brk, arguments */
    CALL(SYS_CLOSE, fds[0]);
    CALL(SYS_CLOSE, fds[1]);
    if (STATE->magic != STATE_MAGIC)
        fail("state");
    for (int i = 0; i < SIGNALS; i++)
        CALL(SYS_RT_SIGACTION, i + 1, &STATE->actions[i], 0, 8); /* not of SIGKILL and SIGSTOP, which have none */
    CALL(SYS_UMASK, STATE->umask);
    make_threads();
    CALL(SYS_SENDTO, CHANNEL, "k", 1, 0, 0, 0);
    become(&STATE->threads[0]);
}

__asm__(".text\n.globl _start\n.type _start, @function\n_start:\n xorl %ebp, %ebp\n leaq stack(%rip), %rsp\n addq $16384, %rsp\n"
        "call restore\n hlt\n");
