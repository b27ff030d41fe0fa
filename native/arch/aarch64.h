/* aarch64.h - what differs on 64-bit ARM.  The number that the kernel will run lives apart from x8, in
 * the regset NT_ARM_SYSTEM_CALL, and x0 is both first argument and result. */
#ifndef DIORAMA_ARCH_AARCH64_H
#define DIORAMA_ARCH_AARCH64_H

#include <elf.h>
#include <errno.h>
#include <linux/audit.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <asm/ptrace.h>

#ifndef NT_ARM_SYSTEM_CALL
#define NT_ARM_SYSTEM_CALL 0x404
#endif
#define ARCH_SKIP_IN_ONE_STOP 1
#define ARCH_NUMBER_LEAKS 0
#define ARCH_NATIVE AUDIT_ARCH_AARCH64

struct arch_regs {
    struct user_pt_regs r;
    int32_t number;
};

static inline int arch_regs_get(pid_t tid, struct arch_regs *out) {
    struct iovec io = {&out->r, sizeof out->r};
    struct iovec nr = {&out->number, sizeof out->number};
    if (ptrace(PTRACE_GETREGSET, tid, (void *)NT_PRSTATUS, &io))
        return -errno;
    return ptrace(PTRACE_GETREGSET, tid, (void *)NT_ARM_SYSTEM_CALL, &nr) ? -errno : 0;
}

/* The number goes first: setting it to -1 presets x0 to -ENOSYS. */
static inline int arch_regs_set(pid_t tid, const struct arch_regs *regs) {
    struct arch_regs copy = *regs;
    struct iovec nr = {&copy.number, sizeof copy.number};
    struct iovec io = {&copy.r, sizeof copy.r};
    if (ptrace(PTRACE_SETREGSET, tid, (void *)NT_ARM_SYSTEM_CALL, &nr))
        return -errno;
    return ptrace(PTRACE_SETREGSET, tid, (void *)NT_PRSTATUS, &io) ? -errno : 0;
}

static inline uint32_t arch_abi(const struct arch_regs *regs) {
    (void)regs;
    return AUDIT_ARCH_AARCH64;
}
static inline uint64_t arch_ip(const struct arch_regs *regs) { return regs->r.pc; }
static inline uint64_t arch_sp(const struct arch_regs *regs) { return regs->r.sp; }
static inline void arch_ip_set(struct arch_regs *regs, uint64_t ip) { regs->r.pc = ip; }
static inline unsigned arch_instruction_size(const struct arch_regs *regs) {
    (void)regs;
    return 4;
}
static inline int64_t arch_result(const struct arch_regs *regs, uint32_t abi) {
    (void)abi;
    return (int64_t)regs->r.regs[0];
}
static inline void arch_result_set(struct arch_regs *regs, int64_t value) { regs->r.regs[0] = (uint64_t)value; }
static inline int64_t arch_number(const struct arch_regs *regs) { return regs->number; }

static inline void arch_call_read(const struct arch_regs *regs, uint32_t abi, int64_t *nr, uint64_t args[6]) {
    (void)abi;
    *nr = regs->number;
    for (int i = 0; i < 6; i++)
        args[i] = regs->r.regs[i];
}

static inline void arch_call_set(struct arch_regs *regs, uint32_t abi, int64_t nr, const uint64_t args[6]) {
    (void)abi;
    regs->number = (int32_t)nr;
    for (int i = 0; nr != -1 && i < 6; i++)
        regs->r.regs[i] = args[i];
}

static inline void arch_arguments_restore(struct arch_regs *regs, uint32_t abi, const struct arch_regs *saved) {
    (void)abi;
    for (int i = 1; i < 6; i++)
        regs->r.regs[i] = saved->r.regs[i];
    regs->r.regs[8] = saved->r.regs[8];
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
    regs->r.regs[0] = arg0;
    regs->r.regs[8] = (uint64_t)nr;
    regs->r.pc -= 4;
}

static inline int arch_forget_call(pid_t tid, struct arch_regs *regs) {
    (void)tid;
    regs->number = -1;
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
