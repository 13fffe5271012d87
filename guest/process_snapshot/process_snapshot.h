/* What the capture of a process leaves in its memory for its restore, and the system calls of both: neither uses a C library.
 *
 * capture.c is loaded into the process of a runtime, restore.c is the program that becomes a copy of it. docs/architecture.md,
 * "Process snapshots". x86-64 only.
 */
#ifndef HANABI_PROCESS_SNAPSHOT_H
#define HANABI_PROCESS_SNAPSHOT_H

#include <stddef.h>
#include <stdint.h>

/* Addresses that no program uses by itself. The host refuses a process that does (hanabi/sandbox/oci/process_image.py has them too). */
#define STATE_ADDRESS 0x2e00000000UL
#define RESTORER_ADDRESS 0x2f00000000UL /* as the Makefile links it */
#define PLAN_ADDRESS 0x3000000000UL
#define PARKING_ADDRESS 0x3080000000UL
#define RESERVED_END 0x3100000000UL

enum { SIGNALS = 64, THREADS_MAX = 256, REASON_BYTES = 240 };
#define STATE_MAGIC 0x31304e5049414e48UL /* "HNAIPN01" */

struct context { /* what a call preserves; `load_context` makes `save_context` return 1 */
    uint64_t rbx, rbp, r12, r13, r14, r15, rsp, rip;
    uint32_t mxcsr;
    uint16_t fpu_control, unused;
};

struct kernel_sigaction {
    uint64_t handler, flags, restorer, mask;
};

struct kernel_altstack {
    uint64_t address;
    int32_t flags;
    uint64_t size;
};

struct thread {
    struct context context;
    uint64_t fs_base, signal_mask, robust_list, robust_bytes, tid_address, rseq_address;
    uint32_t tid, rseq_bytes;
    struct kernel_altstack altstack;
    char name[16];
};

struct state {
    uint64_t magic;
    char reason[REASON_BYTES]; /* why there is none; empty: it is complete */
    uint32_t thread_count;     /* the first is the one that asked */
    uint32_t arrived;          /* threads that have stopped */
    uint32_t returned;         /* threads that have been made again, in a copy */
    uint32_t go;               /* a futex: they go on */
    uint32_t umask;
    struct kernel_sigaction actions[SIGNALS];
    struct thread threads[THREADS_MAX];
};

#define STATE ((struct state *)STATE_ADDRESS)
#define STATE_BYTES ((sizeof(struct state) + 4095) & ~4095UL)

/* --- system calls --------------------------------------------------------------------------------------------------- */

enum {
    SYS_READ = 0, SYS_OPEN = 2, SYS_CLOSE = 3, SYS_LSEEK = 8, SYS_MMAP = 9, SYS_MUNMAP = 11, SYS_RT_SIGACTION = 13,
    SYS_RT_SIGPROCMASK = 14, SYS_PREAD = 17, SYS_MREMAP = 25, SYS_MADVISE = 28, SYS_NANOSLEEP = 35, SYS_GETPID = 39, SYS_SENDTO = 44, SYS_RECVFROM = 45,
    SYS_RECVMSG = 47, SYS_CLONE = 56, SYS_EXIT = 60, SYS_UMASK = 95, SYS_SIGALTSTACK = 131, SYS_PRCTL = 157, SYS_ARCH_PRCTL = 158,
    SYS_GETTID = 186, SYS_FUTEX = 202, SYS_GETDENTS64 = 217, SYS_SET_TID_ADDRESS = 218, SYS_EXIT_GROUP = 231, SYS_TGKILL = 234,
    SYS_SET_ROBUST_LIST = 273, SYS_GET_ROBUST_LIST = 274, SYS_RSEQ = 334,
};

static inline long call6(long number, long a, long b, long c, long d, long e, long f) {
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
    return result;
}

#define CALL(number, ...) CALL_(number, __VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define CALL_(number, a, b, c, d, e, f, ...) call6(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

enum { PROT_R = 1, PROT_W = 2, PRIVATE = 2, FIXED = 0x10, ANONYMOUS = 0x20, NORESERVE = 0x4000, NOREPLACE = 0x100000 };
enum { SIG_SETMASK = 2, FUTEX_WAIT = 0, FUTEX_WAKE = 1, ARCH_SET_FS = 0x1002, ARCH_GET_FS = 0x1003 };
enum { PR_SET_NAME = 15, PR_GET_NAME = 16, PR_SET_MM = 35, PR_SET_MM_MAP = 14, PR_GET_TID_ADDRESS = 40 };
enum { RSEQ_SIGNATURE = 0x53053053 };

static inline long signal_mask(const uint64_t *set, uint64_t *before) { return CALL(SYS_RT_SIGPROCMASK, SIG_SETMASK, set, before, 8); }

/* What the compiler calls by itself. */
__attribute__((visibility("hidden"), used)) void *memset(void *at, int value, size_t length) {
    for (volatile uint8_t *to = at; length; length--)
        *to++ = (uint8_t)value;
    return at;
}

__attribute__((visibility("hidden"), used)) void *memcpy(void *at, const void *from, size_t length) {
    volatile uint8_t *to = at;
    for (const uint8_t *source = from; length; length--)
        *to++ = *source++;
    return at;
}

#endif
