/* hostile_more.c - tries ways out of a view's network that are no calls of a socket of its own.
 *
 *   hostile_more TCP UDP ABSTRACT INHERITED-TCP INHERITED-UDP INHERITED-LISTENER PASSING VICTIM VICTIM-FD ALLOWED
 *
 * The arguments are those of hostile.c. Each line is an attempt and what came of it, "OUT" if it got out.
 */
#include "hostile.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096

static int tcp_port, udp_port, inherited_udp;
static const char *abstract;

/* What an attempt returns in a process of its own, which may have changed for good. */
static int apart(int (*attempt)(void)) {
    pid_t child = fork();
    if (!child) {
        errno = 0;
        int got_out = attempt();
        _exit(got_out ? 255 : errno & 127);
    }
    int status = 0;
    waitpid(child, &status, 0);
    errno = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
    return WIFEXITED(status) && WEXITSTATUS(status) == 255;
}

/* ---- protocols ---- */

static void protocol_attempts(void) {
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET, SOCK_DCCP};
    static const int protocols[] = {1, 2, 4, 6, 17, 33, 41, 46, 47, 50, 51, 58, 94, 103, 108, 115, 132, 136, 137, 143,
                                    255, 256, 262};
    for (int v6 = 0; v6 < 2; v6++)
        for (size_t t = 0; t < sizeof types / sizeof *types; t++)
            for (size_t p = 0; p < sizeof protocols / sizeof *protocols; p++) {
                int fd = socket(v6 ? AF_INET6 : AF_INET, types[t], protocols[p]);
                if (fd < 0)
                    continue;
                printf("protocol %d of type %d\n", protocols[p], types[t]);
                close(fd);
            }
    int pair[2];
    for (int family = 2; family < 48; family++)
        if (socketpair(family, SOCK_STREAM, 0, pair) == 0) {
            struct sockaddr_in at = inet_at(tcp_port);
            tell("pair of another family: connect", connect(pair[0], (void *)&at, sizeof at) == 0);
            close(pair[0]), close(pair[1]);
        }
}

/* ---- what needs no address ---- */

static void pipe_attempts(int stream) {
    int file = open("/proc/self/exe", O_RDONLY), pipes[2];
    tell("sendfile to a datagram socket", sendfile(inherited_udp, file, NULL, 8) > 0);
    tell("sendfile to a stream", sendfile(stream, file, NULL, 8) > 0);
    struct iovec data = {"x", 1};
    if (pipe(pipes) == 0 && vmsplice(pipes[1], &data, 1, 0) == 1)
        tell("vmsplice and splice", splice(pipes[0], NULL, inherited_udp, NULL, 1, SPLICE_F_NONBLOCK) == 1);
    tell("writev", writev(inherited_udp, &data, 1) == 1);
    tell("send", send(inherited_udp, "x", 1, 0) == 1);
}

/* ---- io_uring ---- */

static int setup_ring(struct io_uring_params *parameters) {
    return (int)syscall(SYS_io_uring_setup, 4, parameters);
}

/* Sends a message by a ring: whether it went. */
static int send_by_ring(int ring, const struct io_uring_params *at) {
    struct sockaddr_in there = inet_at(udp_port);
    struct iovec data = {"x", 1};
    struct msghdr message = {.msg_name = &there, .msg_namelen = sizeof there, .msg_iov = &data, .msg_iovlen = 1};
    size_t size = at->sq_off.array + at->sq_entries * sizeof(uint32_t);
    size_t completed = at->cq_off.cqes + at->cq_entries * sizeof(struct io_uring_cqe);
    size = completed > size ? completed : size;
    char *rings = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
    struct io_uring_sqe *entries =
        mmap(NULL, at->sq_entries * sizeof *entries, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
    if (rings == MAP_FAILED || entries == MAP_FAILED)
        return 0;
    memset(entries, 0, sizeof *entries);
    entries->opcode = IORING_OP_SENDMSG;
    entries->fd = inherited_udp;
    entries->addr = (uint64_t)(uintptr_t)&message;
    entries->len = 1;
    uint32_t *tail = (uint32_t *)(rings + at->sq_off.tail), mask = *(uint32_t *)(rings + at->sq_off.ring_mask);
    ((uint32_t *)(rings + at->sq_off.array))[*tail & mask] = 0;
    __atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
        return 0;
    struct io_uring_cqe *done = (void *)(rings + at->cq_off.cqes);
    return done->res == 1;
}

static int try_ring(void) {
    struct io_uring_params parameters = {0};
    int ring = setup_ring(&parameters);
    return ring >= 0 && send_by_ring(ring, &parameters);
}

static int try_inherited_ring(void) {
    for (int fd = 3; fd < 64; fd++) {
        char name[64], target[64] = "";
        snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
        if (readlink(name, target, sizeof target - 1) > 0 && strcmp(target, "anon_inode:[io_uring]") == 0)
            return 1;
    }
    errno = EBADF;
    return 0;
}

static void ring_attempts(void) {
    tell("ring", apart(try_ring));
    tell("ring from outside", apart(try_inherited_ring));
    struct io_uring_params parameters = {.flags = IORING_SETUP_SQPOLL};
    tell("ring with a thread", setup_ring(&parameters) >= 0);
    uint32_t answer[64] = {0};
    tell("blind registering", syscall(SYS_io_uring_register, -1, 31, answer, 1) >= 0);
    tell("entering nothing", syscall(SYS_io_uring_enter, 0, 0, 0, 0, NULL, 0) >= 0);
}

/* ---- filters of its own ---- */

static int install(uint32_t action, unsigned flags) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sendto, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

static int send_now(void) {
    struct sockaddr_in at = inet_at(udp_port);
    return sendto(inherited_udp, "x", 1, 0, (void *)&at, sizeof at) == 1;
}

/* A listener that lets its child's call go on is asked before anybody who traces. */
static int try_listener(void) {
    int listener = install(SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER);
    if (listener < 0)
        return 0;
    pid_t child = fork();
    if (!child)
        _exit(send_now());
    struct pollfd ready = {listener, POLLIN, 0};
    if (poll(&ready, 1, 60000) != 1)
        return 0;
    struct seccomp_notif notice = {0};
    ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &notice);
    struct seccomp_notif_resp answer = {.id = notice.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
    ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
    int status = 0;
    waitpid(child, &status, 0);
    errno = EACCES;
    return status != 0;
}

static int try_tracing_filter(void) { return install(SECCOMP_RET_TRACE | 0xabcd, 0) == 0 && send_now(); }
static int try_closed_memory(void) { return prctl(PR_SET_DUMPABLE, 0) == 0 && send_now(); }

/* ---- namespaces ---- */

static int into_namespace(void) {
    char line[64];
    uid_t uid = getuid();
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET))
        return 0;
    int fd = open("/proc/self/uid_map", O_WRONLY);
    int n = snprintf(line, sizeof line, "0 %u 1", (unsigned)uid);
    return fd >= 0 && write(fd, line, (size_t)n) == n && close(fd) == 0;
}

static int try_apart(void) { return into_namespace() && send_now(); }

static int try_apart_by_ring(void) { return into_namespace() && try_ring(); }

static int try_clone_apart(void) {
    pid_t child = (pid_t)syscall(SYS_clone, CLONE_NEWUSER | CLONE_NEWNET | SIGCHLD, NULL, NULL, NULL, 0);
    if (child < 0)
        return 0;
    if (!child)
        _exit(send_now());
    int status = 0;
    waitpid(child, &status, 0);
    errno = EACCES;
    return status != 0;
}

static pid_t victim;

/* Only who is privileged may go back by a process that has stayed. */
static int try_back_by_process(void) {
    struct sockaddr_in at = inet_at(udp_port);
    int pidfd = (int)syscall(SYS_pidfd_open, victim, 0);
    if (unshare(CLONE_NEWNET) || setns(pidfd, CLONE_NEWNET))
        return 0;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    return fd >= 0 && sendto(fd, "x", 1, 0, (void *)&at, sizeof at) == 1;
}

static int try_own_loopback(void) {
    if (!into_namespace())
        return 0;
    int fd = socket(AF_INET, SOCK_STREAM, 0), other = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = inet_at(0);
    socklen_t size = sizeof at;
    char up[40] = "lo";
    up[16] = 0x49; /* IFF_UP | IFF_RUNNING | IFF_LOOPBACK */
    if (ioctl(fd, 0x8914 /* SIOCSIFFLAGS */, up))
        return 0;
    return bind(fd, (void *)&at, size) == 0 && listen(fd, 1) == 0 && getsockname(fd, (void *)&at, &size) == 0 &&
           connect(other, (void *)&at, size) == 0 && accept(fd, NULL, NULL) >= 0;
}

static void namespace_attempts(void) {
    tell("inherited socket in another namespace", apart(try_apart));
    tell("ring in another namespace", apart(try_apart_by_ring));
    tell("inherited socket of a child in another namespace", apart(try_clone_apart));
    tell("back by a process", apart(try_back_by_process));
    errno = 0;
    int works = apart(try_own_loopback);
    printf("own namespace %s\n", works ? "works" : strerror(errno));
}

/* ---- addresses that change while they are looked at, in memory that somebody else fills in ---- */

static char *page;
static struct sockaddr_in fill_with;
static int faults;

static void *serve_fault(void *unused) {
    static char filled[PAGE] __attribute__((aligned(PAGE)));
    struct uffd_msg message;
    if (read(faults, &message, sizeof message) == sizeof message) {
        struct sockaddr_in there = inet_at(udp_port);
        memcpy(filled, &fill_with, sizeof fill_with);
        struct uffdio_copy copy = {.dst = (uint64_t)(uintptr_t)page, .src = (uint64_t)(uintptr_t)filled, .len = PAGE};
        ioctl(faults, UFFDIO_COPY, &copy);
        for (int i = 0; i < 100000; i++)
            *(volatile struct sockaddr_in *)page = there;
    }
    return unused;
}

static void fault_attempts(int allowed) {
    page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    faults = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
    if (faults < 0) /* who has no privileges fills in what the program itself looks at, and no other */
        faults = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
    struct uffdio_api api = {.api = UFFD_API};
    struct uffdio_register range = {.range = {(uint64_t)(uintptr_t)page, PAGE}, .mode = UFFDIO_REGISTER_MODE_MISSING};
    if (faults < 0 || ioctl(faults, UFFDIO_API, &api) || ioctl(faults, UFFDIO_REGISTER, &range)) {
        printf("faults: %s\n", strerror(errno));
        return;
    }
    fill_with = inet_at(allowed);
    pthread_t thread;
    pthread_create(&thread, NULL, serve_fault, NULL);
    sendto(inherited_udp, "x", 1, 0, (void *)page, sizeof fill_with);
    *(volatile char *)page; /* nobody may have looked */
    pthread_join(thread, NULL);
    printf("faults: done\n");
}

/* ---- the rest ---- */

static void other_attempts(char *self) {
    union bpf_attr map = {.map_type = BPF_MAP_TYPE_SOCKMAP, .key_size = 4, .value_size = 4, .max_entries = 1};
    tell("bpf", syscall(SYS_bpf, BPF_MAP_CREATE, &map, sizeof map) >= 0);
    char request[64] = "lo";
    int local = socket(AF_UNIX, SOCK_STREAM, 0);
    tell("namespace of a socket", ioctl(local, 0x894c /* SIOCGSKNS */, 0) >= 0);
    tell("bridge", ioctl(local, 0x89a1 /* SIOCBRDELBR */, "hostile-none") == 0 || errno == ENXIO);
    tell("private request of a device", ioctl(local, 0x89f0 /* SIOCDEVPRIVATE */, request) == 0);
    tell("route", ioctl(local, 0x890b /* SIOCADDRT */, request) == 0);
    int file = (int)syscall(SYS_memfd_create, "again", 1), from = open(self, O_RDONLY);
    while (sendfile(file, from, NULL, 1 << 20) > 0)
        continue;
    pid_t child = fork();
    if (!child) {
        char port[16], fd[16];
        snprintf(port, sizeof port, "%d", udp_port), snprintf(fd, sizeof fd, "%d", inherited_udp);
        char *words[] = {"again", port, fd, NULL}, *none[] = {NULL};
        syscall(SYS_execveat, file, "", words, none, AT_EMPTY_PATH);
        _exit(errno);
    }
    int status = 0;
    waitpid(child, &status, 0);
    errno = EACCES;
    tell("executed from memory", status != 0);
}

int main(int count, char **words) {
    signal(SIGPIPE, SIG_IGN);
    if (count == 3) {
        udp_port = atoi(words[1]), inherited_udp = atoi(words[2]);
        return send_now();
    }
    if (count != 11)
        return 2;
    tcp_port = atoi(words[1]), udp_port = atoi(words[2]), abstract = words[3];
    inherited_udp = atoi(words[5]), victim = (pid_t)atoi(words[8]);
    protocol_attempts();
    pipe_attempts(atoi(words[4]));
    ring_attempts();
    tell("listener of its own", apart(try_listener));
    tell("filter that traces", apart(try_tracing_filter));
    tell("closed memory", apart(try_closed_memory));
    namespace_attempts();
    fault_attempts(atoi(words[10]));
    other_attempts("/proc/self/exe");
    printf("attempts that got out: %d\n", failures);
    return 0;
}
