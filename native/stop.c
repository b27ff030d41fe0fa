/* stop.c - one ptrace-stop, and the four actions on it.
 *
 * This is the portable layer: whichever path serves an action, the program sees the same.
 *
 *   read     PTRACE_GET_SYSCALL_INFO, or registers
 *   change   PTRACE_SET_SYSCALL_INFO (6.16), or registers.  Either leaves the argument registers changed
 *            after the call; restoring them is the caller's (guardian.c does)
 *   skip     op=EXIT at a seccomp stop (proposed, probed); number -1 and the result register in the same
 *            stop; or a harmless call now and the result at its exit stop
 *   rewind   SET_IP (proposed, probed); result ERESTARTNOINTR and an interrupt, so that the kernel's own
 *            restart code moves the instruction pointer; or registers
 *
 * A skip at an entry stop is seen by the tracee's seccomp filters with number -1, which they may answer
 * by killing; a skip at a seccomp stop is not.  So with other filters about, getpid runs instead.
 */
#include "internal.h"

#include <string.h>

static int info_set(pid_t tid, const struct kernel_info *info) {
    return ptrace((enum __ptrace_request)PTRACE_SET_INFO, tid, sizeof *info, info) ? -errno : 0;
}

static int info_get(pid_t tid, struct dio_info *out) {
    struct kernel_info k;
    memset(&k, 0, sizeof k);
    if (ptrace((enum __ptrace_request)PTRACE_GET_INFO, tid, sizeof k, &k) < 0)
        return -errno;
    out->op = k.op;
    out->abi = k.arch;
    out->ip = k.ip;
    out->sp = k.sp;
    if (k.op == DIO_OP_EXIT) {
        out->rval = k.exit.rval;
        out->is_error = k.exit.is_error;
    } else if (k.op != DIO_OP_NONE) {
        out->nr = (int64_t)k.entry.nr;
        memcpy(out->args, k.entry.args, sizeof out->args);
        out->ret_data = k.op == DIO_OP_SECCOMP ? k.seccomp.ret_data : 0;
    }
    return 0;
}

int dio_stop_read(pid_t tid, const struct dio_paths *paths, enum dio_op op, struct dio_info *out) {
    struct arch_regs regs;
    memset(out, 0, sizeof *out);
    (void)paths;
    /* Reading needs Linux 5.3 only, and alone knows the ABI of an i386 call made by 64-bit code. */
    int error = info_get(tid, out);
    if (error != -EIO && error != -EINVAL)
        return error;
    error = arch_regs_get(tid, &regs);
    if (error)
        return error;
    out->op = op;
    out->abi = arch_abi(&regs);
    out->ip = arch_ip(&regs);
    out->sp = arch_sp(&regs);
    if (op == DIO_OP_EXIT) {
        out->rval = arch_result(&regs, out->abi);
        out->is_error = out->rval < 0 && out->rval >= -4095;
    } else if (op != DIO_OP_NONE) {
        arch_call_read(&regs, out->abi, &out->nr, out->args);
    }
    return 0;
}

int dio_stop_change(pid_t tid, const struct dio_paths *paths, const struct dio_info *at, int64_t nr,
                    const uint64_t args[6]) {
    if (paths->info != DIO_INFO_REGISTERS) {
        struct kernel_info k = {.op = (uint8_t)at->op, .entry = {.nr = (uint64_t)nr}};
        memcpy(k.entry.args, args, sizeof k.entry.args);
        return info_set(tid, &k);
    }
    struct arch_regs regs;
    int error = arch_regs_get(tid, &regs);
    if (error)
        return error;
    arch_call_set(&regs, at->abi, nr, args);
    return arch_regs_set(tid, &regs);
}

int dio_stop_skip(pid_t tid, const struct dio_paths *paths, const struct dio_info *at, int64_t rval,
                  int own_filter) {
    if (paths->skip == DIO_SKIP_KERNEL && at->op == DIO_OP_SECCOMP) {
        struct kernel_info k = {.op = DIO_OP_EXIT};
        k.exit.rval = rval;
        k.exit.is_error = rval < 0 && rval >= -4095;
        return info_set(tid, &k);
    }
    int judged = at->op == DIO_OP_ENTRY && own_filter;
    if (paths->skip == DIO_SKIP_REGISTERS && ARCH_SKIP_IN_ONE_STOP && !judged) {
        int error = dio_stop_change(tid, paths, at, -1, at->args);
        return error ? error : arch_result_poke(tid, rval);
    }
    /* getpid rather than -1: it passes other filters, and its exit stop can be rewound. */
    int error = dio_stop_change(tid, paths, at, arch_number_of(at->abi, ARCH_GETPID), at->args);
    return error ? error : 1;
}

int dio_stop_result(pid_t tid, const struct dio_paths *paths, const struct dio_info *at, int64_t rval) {
    (void)at;
    if (paths->info == DIO_INFO_REGISTERS)
        return arch_result_poke(tid, rval);
    struct kernel_info k = {.op = DIO_OP_EXIT};
    k.exit.rval = rval;
    k.exit.is_error = rval < 0 && rval >= -4095;
    return info_set(tid, &k);
}

int dio_stop_set_ip(pid_t tid, const struct dio_paths *paths, const struct dio_info *at, uint64_t ip) {
#ifdef PTRACE_SYSCALL_INFO_FLAG_SET_IP
    if (paths->rewind == DIO_REWIND_KERNEL) {
        struct kernel_info k = {.op = DIO_OP_EXIT, .flags = PTRACE_SYSCALL_INFO_FLAG_SET_IP, .ip = ip};
        k.exit.rval = at->rval;
        k.exit.is_error = (uint8_t)at->is_error;
        return info_set(tid, &k);
    }
#else
    (void)paths, (void)at;
#endif
    struct arch_regs regs;
    int error = arch_regs_get(tid, &regs);
    if (error)
        return error;
    arch_ip_set(&regs, ip);
    return arch_regs_set(tid, &regs);
}

static int rewind_by_registers(pid_t tid, const struct dio_info *at) {
    struct arch_regs regs;
    int error = arch_regs_get(tid, &regs);
    if (error)
        return error;
    arch_rewind(&regs, at->abi, arch_number_of(at->abi, ARCH_GETPID), 0);
    error = arch_forget_call(tid, &regs);
    return error ? error : arch_regs_set(tid, &regs);
}

int dio_stop_rewind(pid_t tid, const struct dio_paths *paths, const struct dio_info *at) {
    struct arch_regs regs;
    int error = arch_regs_get(tid, &regs);
    if (error)
        return error;
    if (paths->rewind == DIO_REWIND_KERNEL)
        return dio_stop_set_ip(tid, paths, at, at->ip - arch_instruction_size(&regs));
    /* After sigreturn there is no call left that the kernel could restart. */
    if (paths->rewind != DIO_REWIND_RESTART || arch_number(&regs) < 0)
        return rewind_by_registers(tid, at);
    error = dio_stop_result(tid, paths, at, -513);
    if (error)
        return error;
    return ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) ? -errno : 0;
}
