/* riscv64.h - what differs on 64-bit RISC-V.  The number is a7 itself, so a skipped call leaves it
 * changed and has to be seen to its exit stop; the first argument is settable only through
 * PTRACE_SET_SYSCALL_INFO (orig_a0 is not in the regset). */
#ifndef DIORAMA_ARCH_RISCV64_H
#define DIORAMA_ARCH_RISCV64_H

#include <elf.h>
#include <errno.h>
#include <linux/audit.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <asm/ptrace.h>

#define ARCH_SKIP_IN_ONE_STOP 0
#define ARCH_NUMBER_LEAKS 1
#define ARCH_NATIVE AUDIT_ARCH_RISCV64

struct arch_regs {
    struct user_regs_struct r;
};

static inline int arch_regs_get(pid_t tid, struct arch_regs *out) {
    struct iovec io = {&out->r, sizeof out->r};
    return ptrace(PTRACE_GETREGSET, tid, (void *)NT_PRSTATUS, &io) ? -errno : 0;
}

static inline int arch_regs_set(pid_t tid, const struct arch_regs *regs) {
    struct arch_regs copy = *regs;
    struct iovec io = {&copy.r, sizeof copy.r};
    return ptrace(PTRACE_SETREGSET, tid, (void *)NT_PRSTATUS, &io) ? -errno : 0;
}

static inline uint32_t arch_abi(const struct arch_regs *regs) {
    (void)regs;
    return AUDIT_ARCH_RISCV64;
}
static inline uint64_t arch_ip(const struct arch_regs *regs) { return regs->r.pc; }
static inline uint64_t arch_sp(const struct arch_regs *regs) { return regs->r.sp; }
static inline void arch_ip_set(struct arch_regs *regs, uint64_t ip) { regs->r.pc = (unsigned long)ip; }
static inline unsigned arch_instruction_size(const struct arch_regs *regs) {
    (void)regs;
    return 4;
}
static inline int64_t arch_result(const struct arch_regs *regs, uint32_t abi) {
    (void)abi;
    return (int64_t)regs->r.a0;
}
static inline void arch_result_set(struct arch_regs *regs, int64_t value) { regs->r.a0 = (unsigned long)value; }
static inline int64_t arch_number(const struct arch_regs *regs) { return (int64_t)regs->r.a7; }

static inline void arch_call_read(const struct arch_regs *regs, uint32_t abi, int64_t *nr, uint64_t args[6]) {
    const uint64_t values[6] = {regs->r.a0, regs->r.a1, regs->r.a2, regs->r.a3, regs->r.a4, regs->r.a5};
    (void)abi;
    *nr = arch_number(regs);
    for (int i = 0; i < 6; i++)
        args[i] = values[i];
}

static inline void arch_call_set(struct arch_regs *regs, uint32_t abi, int64_t nr, const uint64_t args[6]) {
    (void)abi;
    regs->r.a7 = (unsigned long)nr;
    if (nr == -1)
        return;
    regs->r.a0 = args[0], regs->r.a1 = args[1], regs->r.a2 = args[2];
    regs->r.a3 = args[3], regs->r.a4 = args[4], regs->r.a5 = args[5];
}

static inline void arch_arguments_restore(struct arch_regs *regs, uint32_t abi, const struct arch_regs *saved) {
    (void)abi;
    regs->r.a1 = saved->r.a1, regs->r.a2 = saved->r.a2, regs->r.a3 = saved->r.a3;
    regs->r.a4 = saved->r.a4, regs->r.a5 = saved->r.a5, regs->r.a7 = saved->r.a7;
}

static inline int arch_result_poke(pid_t tid, int64_t value) {
    struct arch_regs regs;
    int error = arch_regs_get(tid, &regs);
    if (error)
        return error;
    arch_result_set(&regs, value);
    return arch_regs_set(tid, &regs);
}

static inline void arch_rewind(struct arch_regs *regs, uint32_t abi, int64_t nr, uint64_t arg0) {
    (void)abi;
    regs->r.a0 = (unsigned long)arg0;
    regs->r.a7 = (unsigned long)nr;
    regs->r.pc -= 4;
}

/* The restart code clears its cause before it looks at the stop; nothing is left to forget. */
static inline int arch_forget_call(pid_t tid, struct arch_regs *regs) {
    (void)tid;
    (void)regs;
    return 0;
}

enum arch_call { ARCH_GETPID, ARCH_PPOLL, ARCH_MMAP, ARCH_CLONE, ARCH_CLONE3, ARCH_FORK, ARCH_VFORK, ARCH_RESTART,
                 ARCH_EXECVE, ARCH_EXECVEAT, ARCH_SCHED_SETAFFINITY, ARCH_SCHED_GETAFFINITY };

static inline int64_t arch_number_of(uint32_t abi, enum arch_call call) {
    static const int16_t generic[] = {172, 73, 222, 220, 435, -2, -2, 128, 221, 281, 122, 123};
    (void)abi;
    return generic[call];
}

#endif
