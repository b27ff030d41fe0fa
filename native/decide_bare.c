/* decide_bare.c - messages that a network of the view need not see.
 *
 * What is received without asking where it came from is the kernel's business.  What is sent without an address is
 * that too, by a stream: another thread may put an address into the header after we have looked, but a stream sends
 * to its peer all the same. */
#include "deciding.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A copy of a thread's descriptor, or -1. */
static int descriptor_copy(pid_t tid, int32_t fd) {
    int thread = thread_pidfd(tid);
    if (thread < 0)
        return -1;
    int copy = (int)syscall(KERNEL_PIDFD_GETFD, thread, fd, 0);
    close(thread);
    return copy;
}

static int option_of(int at, int option) {
    int value = -1;
    socklen_t size = sizeof value;
    return getsockopt(at, SOL_SOCKET, option, &value, &size) ? -1 : value;
}

/* Whether what a socket sends goes to its peer, whatever address stands there. */
static int is_stream(pid_t tid, int32_t fd) {
    int at = descriptor_copy(tid, fd);
    if (at < 0)
        return 0;
    int domain = option_of(at, SO_DOMAIN), result = option_of(at, SO_TYPE) == SOCK_STREAM;
    if (result && domain != AF_UNIX)
        result = (domain == AF_INET || domain == AF_INET6) && option_of(at, SO_PROTOCOL) == IPPROTO_TCP;
    close(at);
    return result;
}

enum part bare_decide(const struct deciding *d) {
    const struct dio_decision *decision = d->decision;
    unsigned char head[48];
    size_t word = d->asked->abi & 0x80000000u ? 8 : 4; /* __AUDIT_ARCH_64BIT */
    ssize_t n = dio_memory_read(d->asked->tid, arg_of(d->asked, decision->arg), head, 6 * word);
    if (n != 6 * (ssize_t)word)
        return PART_ASK;
    for (size_t i = 0; i < word; i++)
        if (head[i] || head[4 * word + i] || head[5 * word + i])
            return PART_ASK;
    if (decision->arg2 == DIO_NO_ARG)
        return PART_RUN;
    if (arg_of(d->asked, decision->flags_arg) & MSG_FASTOPEN)
        return PART_ASK;
    return is_stream(d->asked->tid, (int32_t)arg_of(d->asked, decision->arg2)) ? PART_RUN : PART_ASK;
}
