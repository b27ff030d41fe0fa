/* internal.h - what the C files share and nobody else sees. */
#ifndef DIORAMA_INTERNAL_H
#define DIORAMA_INTERNAL_H

#include "arch/arch.h"
#include "include/diorama.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/ptrace.h>

/* The kernel's struct ptrace_syscall_info as of Linux 6.16, with the reserved and flags fields that
 * older headers call padding. */
struct kernel_info {
    uint8_t op, reserved;
    uint16_t flags;
    uint32_t arch;
    uint64_t ip, sp;
    union {
        struct {
            uint64_t nr, args[6];
        } entry;
        struct {
            int64_t rval;
            uint8_t is_error;
        } exit;
        struct {
            uint64_t nr, args[6];
            uint32_t ret_data, reserved2;
        } seccomp;
    };
};
_Static_assert(sizeof(struct kernel_info) == 88, "struct ptrace_syscall_info");

#define PTRACE_GET_INFO 0x420e
#define PTRACE_SET_INFO 0x4212

/* A task waits for its answer killably once we have its call, so that no signal repeats what we have done. */
#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif
#define NOTIFY_FILTER_FLAGS (unsigned)(SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)

#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif
#ifndef SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#endif
#ifndef SECCOMP_ADDFD_FLAG_SEND
#define SECCOMP_ADDFD_FLAG_SEND (1UL << 1)
#endif

/* Lets this process, a program, have as many descriptors as the supervisor was given; by a call with this tag. */
int limit_give(uint64_t tag);
/* What this thread forks until the end of it does that by itself. */
void limit_launch(int begins);

/* Errors that mean "the kernel will restart this call, or make it EINTR"; never a result. */
static inline int is_restart(int64_t rval) { return rval == -512 || rval == -513 || rval == -514 || rval == -516; }

/* A descriptor of ours that a traced program opens by its link, with `value` for its argument `arg`; so long it stays
 * (fusekept.c). */
struct dio_lent {
    struct dio_lent *next;
    struct keeper *keeper;
    struct kept *kept;
    int fd, held /* what shows that it is open, when Python has taken it back; or -1 */;
    uint8_t arg;
    uint64_t value;
};
/* The call is over: the program has it open, or has not (0), or that is not known (-1). */
void lent_end(struct dio_lent *lent, int is_open);

static inline int same_site(const struct dio_info *a, const struct dio_info *b) {
    return a->ip == b->ip && a->sp == b->sp;
}

#endif
