/* memory.c - the tracee's memory, told apart from a dead tracee. */
#include "include/diorama.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* Protections that process_vm_* respects and ptrace may override (PROT_NONE, execute-only). */
static ssize_t memory_file(pid_t tid, uint64_t address, void *buffer, size_t size, int writing) {
    char name[40];
    snprintf(name, sizeof name, "/proc/%d/mem", tid);
    int fd = open(name, (writing ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? -ESRCH : errno == EACCES || errno == EPERM ? -EPERM : -EFAULT;
    ssize_t n = writing ? pwrite(fd, buffer, size, (off_t)address) : pread(fd, buffer, size, (off_t)address);
    close(fd);
    return n > 0 ? n : -EFAULT;
}

ssize_t dio_memory_read(pid_t tid, uint64_t address, void *buffer, size_t size) {
    struct iovec here = {buffer, size}, there = {(void *)(uintptr_t)address, size};
    if (!size)
        return 0;
    ssize_t n = process_vm_readv(tid, &here, 1, &there, 1, 0);
    if (n > 0)
        return n;
    if (n < 0 && errno == ESRCH)
        return -ESRCH;
    return memory_file(tid, address, buffer, size, 0);
}

ssize_t dio_memory_write(pid_t tid, uint64_t address, const void *buffer, size_t size) {
    struct iovec here = {(void *)(uintptr_t)buffer, size}, there = {(void *)(uintptr_t)address, size};
    if (!size)
        return 0;
    ssize_t n = process_vm_writev(tid, &here, 1, &there, 1, 0);
    if (n > 0)
        return n;
    /* Never force: a program that passes read-only memory gets EFAULT, as from the kernel. */
    return n < 0 && errno == ESRCH ? -ESRCH : -EFAULT;
}

ssize_t dio_memory_string(pid_t tid, uint64_t address, char *buffer, size_t size) {
    enum { FIRST = 256, PAGE = 4096 };
    size_t have = 0;
    while (have < size) {
        uint64_t at = address + have;
        size_t want = PAGE - (size_t)(at & (PAGE - 1));
        if (have == 0 && want > FIRST)
            want = FIRST;
        if (want > size - have)
            want = size - have;
        ssize_t n = dio_memory_read(tid, at, buffer + have, want);
        if (n < 0)
            return n;
        char *end = memchr(buffer + have, 0, (size_t)n);
        if (end)
            return end - buffer;
        have += (size_t)n;
    }
    return -ENAMETOOLONG;
}
