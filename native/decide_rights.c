/* decide_rights.c - whether what the supervisor does in the place of a program is what the program may do.
 *
 * Results of stat and access depend on the user namespace (it translates ids), paths on the mount namespace,
 * and permissions on ids and capabilities.  Programs of a supervisor without privileges have its ids, for a
 * seccomp filter came with no_new_privs, and have another mount namespace only with another user namespace;
 * what it may not do is asked anyway.  So nothing needs to be compared until somebody makes a namespace of its own
 * (`dio_decider_strangers`).  A privileged supervisor must compare everything each time, which costs 12 us.
 *
 * Namespaces are compared by the text of their links: stat(2) takes twice as long as readlink(2). */
#include "decide.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static ssize_t status_read(const char *who, char *buffer, size_t size) {
    char name[40];
    snprintf(name, sizeof name, "/proc/%s/status", who);
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t n = read(fd, buffer, size - 1);
    int error = errno;
    close(fd);
    if (n < 0)
        return -error;
    buffer[n] = 0;
    return n;
}

/* Copies the lines that say who a thread is; 0, or -EINVAL when one is missing (or cut off). */
static int status_extract(const char *status, char *out, size_t room) {
    static const char *const names[] = {"\nUid:", "\nGid:", "\nGroups:", "\nCapEff:"};
    size_t used = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *line = strstr(status, names[i]);
        const char *end = line ? strchr(line + 1, '\n') : NULL;
        if (!end || used + (size_t)(end - line) >= room)
            return -EINVAL;
        memcpy(out + used, line, (size_t)(end - line));
        used += (size_t)(end - line);
    }
    out[used] = 0;
    return 0;
}

/* The last number of a line, or the only one. */
static int status_number(const char *status, const char *line, uint32_t *out) {
    const char *at = strstr(status, line), *end = at ? strchr(at + 1, '\n') : NULL;
    if (!end)
        return -EINVAL;
    for (at = end; at[-1] >= '0' && at[-1] <= '9'; at--)
        ;
    *out = (uint32_t)strtoul(at, NULL, 10);
    return 0;
}

/* As of Linux 6.13; older headers lack it. */
struct kernel_pidfd_info {
    uint64_t mask, cgroup;
    uint32_t pid, tgid, ppid, ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
    int32_t exit_code;
};
#define KERNEL_PIDFD_GET_INFO _IOWR(0xFF, 11, struct kernel_pidfd_info)
enum { PIDFD_INFO_IDS = 3 /* PIDFD_INFO_PID | PIDFD_INFO_CREDS */ };

int thread_pidfd(pid_t tid) {
    int fd = (int)syscall(KERNEL_PIDFD_OPEN, tid, KERNEL_PIDFD_THREAD);
    if (fd < 0)
        fd = (int)syscall(KERNEL_PIDFD_OPEN, tid, 0); /* only of a process, before Linux 6.9 */
    return fd < 0 ? -errno : fd;
}

/* By a pidfd, in 4 us: 0, or -errno. */
static int caller_ask(pid_t tid, uint32_t *uid, uint32_t *gid, uint32_t *pid) {
    static _Thread_local int is_missing;
    struct kernel_pidfd_info info = {.mask = PIDFD_INFO_IDS};
    int fd = is_missing ? -ENOSYS : thread_pidfd(tid);
    if (fd < 0)
        return fd;
    int error = ioctl(fd, KERNEL_PIDFD_GET_INFO, &info) ? -errno : 0;
    close(fd);
    is_missing = error && error != -ESRCH;
    if (!error && ((info.mask & PIDFD_INFO_IDS) != PIDFD_INFO_IDS || info.pid != (uint32_t)tid))
        return -EINVAL;
    *uid = info.fsuid;
    *gid = info.fsgid;
    *pid = info.tgid;
    return error;
}

/* Else by its status in /proc, which takes 11. */
int thread_caller(pid_t tid, uint32_t *uid, uint32_t *gid, uint32_t *pid) {
    char who[16], status[8192];
    if (!caller_ask(tid, uid, gid, pid))
        return 0;
    snprintf(who, sizeof who, "%d", tid);
    ssize_t n = status_read(who, status, sizeof status);
    if (n < 0)
        return (int)n;
    return status_number(status, "\nUid:", uid) || status_number(status, "\nGid:", gid) ||
                   status_number(status, "\nTgid:", pid)
               ? -EINVAL
               : 0;
}

static int rights_text(const char *who, char *out, size_t room) {
    char status[8192];
    ssize_t n = status_read(who, status, sizeof status);
    return n < 0 ? (int)n : status_extract(status, out, room);
}

static int namespace_read(const char *who, const char *kind, char out[64]) {
    char name[48];
    snprintf(name, sizeof name, "/proc/%s/ns/%s", who, kind);
    ssize_t n = readlink(name, out, 64);
    if (n <= 0 || n == 64)
        return -EINVAL;
    out[n] = 0;
    return 0;
}

void rights_learn(struct rights *rights) {
    memset(rights, 0, sizeof *rights);
    if (rights_text("thread-self", rights->text, sizeof rights->text) || namespace_read("self", "user", rights->user) ||
        namespace_read("self", "mnt", rights->mount))
        return;
    const char *capabilities = strstr(rights->text, "\nCapEff:");
    rights->known = 1;
    rights->privileged = !capabilities || geteuid() == 0 || strspn(capabilities + 8, "\t 0") != strlen(capabilities + 8);
}

static int namespace_is(const char *ours, const char *who, const char *kind) {
    char theirs[64];
    return !namespace_read(who, kind, theirs) && !strcmp(theirs, ours);
}

int dio_decider_alike(const struct dio_decider *decider) {
    const struct rights *ours = &decider->rights;
    return ours->known && !ours->privileged && !atomic_load(&decider->strangers);
}

int rights_equal(struct dio_decider *decider, pid_t tid) {
    const struct rights *ours = &decider->rights;
    char who[16], text[sizeof ours->text];
    if (!ours->known)
        return 0;
    if (dio_decider_alike(decider))
        return 1;
    snprintf(who, sizeof who, "%d", tid);
    if (!namespace_is(ours->user, who, "user"))
        return 0;
    if (!ours->privileged)
        return 1;
    return namespace_is(ours->mount, who, "mnt") && !rights_text(who, text, sizeof text) && !strcmp(text, ours->text);
}
