/* decide_process.c - the verdict on calls about the process itself: its children, and its handlers of signals. */
#include "deciding.h"

#include <linux/sched.h>
#include <signal.h>

/* ---- children ---- */

/* Whether somebody must see how the child is made.  A thread has what its process has, and a process begins with a
 * copy, if there is anything to copy; what shares a directory or descriptors in another way must be known to share
 * whatever comes.  The flags are an argument, or the first word of clone3's structure. */
enum part clone_decide(const struct deciding *d) {
    const uint64_t ordinary = CLONE_FS | CLONE_FILES;
    uint64_t flags = arg_of(d->asked, d->decision->flags_arg);
    uint64_t address = arg_of(d->asked, d->decision->buffer_arg);
    if (d->decision->buffer_arg != DIO_NO_ARG) {
        ssize_t n = dio_memory_read(d->asked->tid, address, &flags, sizeof flags);
        if (n == -EFAULT)
            return PART_RUN; /* the kernel cannot read it either */
        if (n != sizeof flags)
            return PART_ASK;
    }
    if (flags & CLONE_NEWUSER)
        dio_decider_strangers(d->decider);
    if (flags & (CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWNET))
        return PART_ASK; /* the child gets a namespace of the view's, or leaves the view's networks */
    if (flags & CLONE_THREAD)
        return (flags & ordinary) == ordinary ? PART_RUN : PART_ASK;
    if (flags & ordinary || d->process.ask_clone)
        return PART_ASK;
    return decider_has_opened(d->decider, d->asked->tid) ? PART_ASK : PART_RUN;
}

/* ---- handlers of signals ---- */

enum part signal_decide(const struct deciding *d) {
    struct {
        uint64_t handler, flags;
    } action;
    uint64_t set = arg_of(d->asked, d->decision->arg), word;
    ssize_t n = set ? dio_memory_read(d->asked->tid, set, &action, sizeof action) : 0;
    if (n == -EFAULT)
        return PART_RUN; /* the kernel cannot read it either */
    if (set && n != sizeof action)
        return PART_ASK;
    if (set && action.handler > (uintptr_t)SIG_IGN && !(action.flags & SA_RESTART))
        return PART_ASK;
    if (!arg_of(d->asked, d->decision->arg2))
        return PART_RUN;
    return dio_memory_read(d->asked->tid, DIO_STUBS, &word, sizeof word) == -EFAULT ? PART_RUN : PART_ASK;
}
