/* hostile.c - tries every way out of a view that has no network, or one under rules.
 *
 *   hostile TCP UDP ABSTRACT INHERITED-TCP INHERITED-UDP INHERITED-LISTENER PASSING VICTIM VICTIM-FD ALLOWED
 *
 * TCP and UDP are ports of servers outside, ABSTRACT the beginning of three abstract names there, PASSING a path from
 * which sockets are received, VICTIM a process outside with a connected socket, ALLOWED a port that the rules allow, or
 * 0. Each line is an attempt and what came of it, "OUT" if it got out as far as can be seen here: the servers know more.
 */
#include "hostile.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/vm_sockets.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
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
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MSG_FASTOPEN
#define MSG_FASTOPEN 0x20000000
#endif
#define ROUNDS 200

static int tcp_port, udp_port, allowed;
static const char *abstract;

static socklen_t unix_at(struct sockaddr_un *at, const char *suffix) {
    *at = (struct sockaddr_un){.sun_family = AF_UNIX};
    int n = snprintf(at->sun_path + 1, sizeof at->sun_path - 1, "%s%s", abstract, suffix);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

/* ---- a socket that somebody has ---- */

static void stream_attempts(const char *whose, int fd) {
    char what[64];
    struct sockaddr_in at = inet_at(tcp_port);
    struct iovec data = {"x", 1};
    struct msghdr message = {.msg_name = &at, .msg_namelen = sizeof at, .msg_iov = &data, .msg_iovlen = 1};
    struct mmsghdr messages = {.msg_hdr = message};
    snprintf(what, sizeof what, "%s stream: write", whose), tell(what, write(fd, "x", 1) == 1);
    snprintf(what, sizeof what, "%s stream: sendto fastopen", whose);
    tell(what, sendto(fd, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL, (void *)&at, sizeof at) == 1);
    snprintf(what, sizeof what, "%s stream: sendmsg fastopen", whose);
    tell(what, sendmsg(fd, &message, MSG_FASTOPEN | MSG_NOSIGNAL) == 1);
    snprintf(what, sizeof what, "%s stream: sendmmsg fastopen", whose);
    tell(what, sendmmsg(fd, &messages, 1, MSG_FASTOPEN | MSG_NOSIGNAL) == 1);
    snprintf(what, sizeof what, "%s stream: connect", whose);
    tell(what, connect(fd, (void *)&at, sizeof at) == 0);
    struct sockaddr nothing = {.sa_family = AF_UNSPEC};
    connect(fd, &nothing, sizeof nothing);
    snprintf(what, sizeof what, "%s stream: connect again", whose);
    tell(what, connect(fd, (void *)&at, sizeof at) == 0);
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, 30 /* TCP_FASTOPEN_CONNECT */, &one, sizeof one);
    snprintf(what, sizeof what, "%s stream: connect deferred", whose);
    tell(what, connect(fd, (void *)&at, sizeof at) == 0 && write(fd, "x", 1) == 1);
    int file = open("/proc/self/exe", O_RDONLY), pair[2];
    if (pipe(pair) == 0 && write(pair[1], "x", 1) == 1) {
        snprintf(what, sizeof what, "%s stream: splice", whose);
        tell(what, splice(pair[0], NULL, fd, NULL, 1, SPLICE_F_NONBLOCK) == 1);
        close(pair[0]), close(pair[1]);
    }
    close(file);
}

static void datagram_attempts(const char *whose, int fd) {
    char what[64];
    struct sockaddr_in at = inet_at(udp_port);
    struct iovec data = {"x", 1};
    struct msghdr message = {.msg_name = &at, .msg_namelen = sizeof at, .msg_iov = &data, .msg_iovlen = 1};
    struct mmsghdr messages = {.msg_hdr = message};
    snprintf(what, sizeof what, "%s datagram: sendto", whose);
    tell(what, sendto(fd, "x", 1, 0, (void *)&at, sizeof at) == 1);
    snprintf(what, sizeof what, "%s datagram: sendmsg", whose), tell(what, sendmsg(fd, &message, 0) == 1);
    snprintf(what, sizeof what, "%s datagram: sendmmsg", whose), tell(what, sendmmsg(fd, &messages, 1, 0) == 1);
    at.sin_family = AF_UNSPEC; /* which the kernel takes for AF_INET */
    snprintf(what, sizeof what, "%s datagram: sendto unspecified", whose);
    tell(what, sendto(fd, "x", 1, 0, (void *)&at, sizeof at) == 1);
    at.sin_family = AF_INET;
    snprintf(what, sizeof what, "%s datagram: connect", whose);
    tell(what, connect(fd, (void *)&at, sizeof at) == 0 && write(fd, "x", 1) == 1);
    char lo[IFNAMSIZ] = "lo", route[8] = {(char)131, 7, 4, 127, 0, 0, 1, 0};
    int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, lo, sizeof lo);
    setsockopt(fd, IPPROTO_IP, 19 /* IP_TRANSPARENT */, &one, sizeof one);
    setsockopt(fd, IPPROTO_IP, 4 /* IP_OPTIONS: a source route */, route, sizeof route);
    snprintf(what, sizeof what, "%s datagram: sendto with options", whose);
    tell(what, sendto(fd, "x", 1, 0, (void *)&at, sizeof at) == 1);
}

static void listener_attempts(const char *whose, int fd) {
    char what[64];
    int copy = dup(fd);
    fcntl(copy, F_SETFL, O_NONBLOCK);
    snprintf(what, sizeof what, "%s listener: accept", whose), tell(what, accept(copy, NULL, NULL) >= 0);
    snprintf(what, sizeof what, "%s listener: listen", whose), tell(what, !allowed && listen(copy, 1) == 0);
    close(copy);
}

/* ---- new sockets ---- */

static void family_attempts(void) {
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_RDM, SOCK_SEQPACKET, SOCK_PACKET};
    for (int family = 2; family < 48; family++)
        for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
            for (int protocol = 0; protocol < 3; protocol++) {
                int raw = types[i] == SOCK_RAW ? IPPROTO_RAW : IPPROTO_SCTP;
                int fd = socket(family, types[i], protocol == 2 ? raw : protocol);
                if (fd < 0)
                    continue;
                printf("made %d %d %d\n", family, types[i], protocol);
                if (types[i] == SOCK_STREAM)
                    stream_attempts("own", fd);
                else if (family == AF_INET)
                    datagram_attempts("own", fd);
                close(fd);
            }
        }
    struct sockaddr_vm there = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = 1};
    int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
    tell("vsock", fd >= 0 && connect(fd, (void *)&there, sizeof there) == 0);
    fd = socket(AF_INET, SOCK_STREAM, 262 /* IPPROTO_MPTCP */);
    tell("mptcp", fd >= 0);
    fd = socket(AF_INET, SOCK_STREAM, 256 /* IPPROTO_SMC */);
    tell("smc", fd >= 0);
}

static void abstract_attempts(void) {
    struct sockaddr_un at;
    socklen_t size = unix_at(&at, "-stream");
    struct iovec data = {"x", 1};
    tell("abstract stream", connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&at, size) == 0);
    size = unix_at(&at, "-packet");
    tell("abstract seqpacket", connect(socket(AF_UNIX, SOCK_SEQPACKET, 0), (void *)&at, size) == 0);
    size = unix_at(&at, "-datagram");
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    struct msghdr message = {.msg_name = &at, .msg_namelen = size, .msg_iov = &data, .msg_iovlen = 1};
    struct mmsghdr messages = {.msg_hdr = message};
    tell("abstract sendto", sendto(fd, "x", 1, 0, (void *)&at, size) == 1);
    tell("abstract sendmsg", sendmsg(fd, &message, 0) == 1);
    tell("abstract sendmmsg", sendmmsg(fd, &messages, 1, 0) == 1);
    tell("abstract connect", connect(fd, (void *)&at, size) == 0);
}

/* ---- other processes ---- */

static void received_attempts(const char *path) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(3 * sizeof(int))];
    } control;
    char byte;
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof control};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0), got[3];
    strncpy(at.sun_path, path, sizeof at.sun_path - 1);
    if (connect(fd, (void *)&at, sizeof at) || recvmsg(fd, &message, 0) != 1 || !message.msg_controllen) {
        printf("received: nothing\n");
        return;
    }
    memcpy(got, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof got);
    printf("received: three\n");
    stream_attempts("received", got[0]);
    datagram_attempts("received", got[1]);
    listener_attempts("received", got[2]);
}

static void process_attempts(pid_t victim, int victim_fd) {
    char name[64], byte = 0;
    int pidfd = (int)syscall(SYS_pidfd_open, victim, 0);
    int taken = (int)syscall(SYS_pidfd_getfd, pidfd, victim_fd, 0);
    tell("pidfd_getfd", taken >= 0 && write(taken, "x", 1) == 1);
    tell("ptrace", ptrace(PTRACE_SEIZE, victim, 0, 0) == 0);
    snprintf(name, sizeof name, "/proc/%d/mem", victim);
    tell("memory of a process", open(name, O_RDWR) >= 0);
    struct iovec here = {&byte, 1}, there = {(void *)&environ, 1};
    tell("reading a process", process_vm_readv(victim, &here, 1, &there, 1, 0) == 1 || errno == EFAULT);
    snprintf(name, sizeof name, "/proc/%d/fd/%d", victim, victim_fd);
    tell("socket by its name in /proc", open(name, O_RDWR) >= 0);
}

/* ---- other calls ---- */

static void other_attempts(void) {
    char room[256] = {0};
    tell("io_uring", syscall(SYS_io_uring_setup, 4, room) >= 0);
    tell("key that is asked for outside", syscall(SYS_request_key, "dns_resolver", "example.org", "", 0) >= 0 ||
                                              errno == ENOENT);
    int fd = open("/dev/net/tun", O_RDWR);
    struct ifreq interface = {.ifr_flags = 0x1001};
    tell("tun", fd >= 0 && ioctl(fd, 0x400454CAL, &interface) == 0);
    strcpy(interface.ifr_name, "lo");
    fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    tell("flags of an interface set", ioctl(fd, SIOCGIFFLAGS, &interface) == 0 &&
                                          ioctl(fd, SIOCSIFFLAGS, &interface) == 0);
    pid_t child = fork();
    if (!child) {
        struct sockaddr_in at = inet_at(udp_port);
        if (unshare(CLONE_NEWUSER | CLONE_NEWNET))
            _exit(0);
        fd = socket(AF_INET, SOCK_DGRAM, 0);
        _exit(fd >= 0 && sendto(fd, "x", 1, 0, (void *)&at, sizeof at) == 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    tell("namespace of its own", status != 0);
#ifdef __x86_64__
    errno = ENOSYS;
    tell("x32", syscall(0x40000000 | SYS_socket, AF_INET, SOCK_DGRAM, 0) >= 0);
#endif
}

/* ---- 32-bit calls ---- */

#ifdef __x86_64__
static long int80(long nr, long a, long b, long c, long d, long e) {
    long result;
    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"(nr), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e)
                     : "memory", "r8", "r9", "r10", "r11");
    if (result < 0 && result > -4096)
        errno = (int)-result;
    return result;
}

static volatile uint32_t *low;

static void *flip_low(void *unused) {
    /* The descriptor, the family of a new socket and the address of a message, in memory of socketcall. */
    while (low[60]) {
        low[0] = low[50], low[4] = 0, low[0] = low[51], low[4] = (uint32_t)(uintptr_t)(low + 20), low[5] = 16;
    }
    return unused;
}

static void call32_attempts(int inherited_udp) {
    struct sockaddr_in at = inet_at(udp_port), stream = inet_at(tcp_port);
    low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    if (low == MAP_FAILED)
        return;
    long base = (long)(uintptr_t)low;
    memcpy((void *)(low + 20), &at, sizeof at);
    memcpy((void *)(low + 30), &stream, sizeof stream);
    low[40] = AF_INET, low[41] = SOCK_DGRAM, low[42] = 0;
    long fd = int80(102, 1, base + 160, 0, 0, 0);
    if (fd < 0)
        fd = inherited_udp;
    uint32_t arguments[6] = {(uint32_t)fd, (uint32_t)(base + 200), 1, 0, (uint32_t)(base + 80), 16};
    memcpy((void *)low, arguments, sizeof arguments);
    tell("socketcall sendto", int80(102, 11, base, 0, 0, 0) == 1);
    low[1] = (uint32_t)(base + 80), low[2] = 16;
    tell("socketcall connect", int80(102, 3, base, 0, 0, 0) == 0);
    tell("32-bit connect", int80(362, fd, base + 80, 16, 0, 0) == 0);
    fd = int80(359, AF_INET, SOCK_STREAM, 0, 0, 0);
    tell("32-bit stream", fd >= 0 && int80(362, fd, base + 120, 16, 0, 0) == 0);
    /* A message without an address on a socket of AF_UNIX, and with one on another, in turns. */
    int pair[2];
    pthread_t thread;
    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair))
        return;
    memcpy((void *)low, arguments, sizeof arguments);
    low[50] = (uint32_t)pair[0], low[51] = (uint32_t)inherited_udp, low[60] = 1;
    pthread_create(&thread, NULL, flip_low, NULL);
    char sink[16];
    for (int i = 0; i < ROUNDS; i++) {
        int80(102, 11, base, 0, 0, 0);
        while (recv(pair[1], sink, sizeof sink, MSG_DONTWAIT) > 0)
            continue;
    }
    low[60] = 0;
    pthread_join(thread, NULL);
    printf("32-bit race: done\n");
}
#endif

/* ---- addresses that change while they are looked at ---- */

static union {
    struct sockaddr_in inet;
    struct sockaddr_un local;
} changing;
static struct msghdr changing_message;
static volatile int racing;
static char own_name[sizeof(struct sockaddr_un)], outer_name[sizeof(struct sockaddr_un)];
static socklen_t name_size;

static void *flip_port(void *target) {
    uint16_t forbidden = htons(*(const uint16_t *)target), fine = htons((uint16_t)allowed);
    while (racing) {
        *(volatile uint16_t *)&changing.inet.sin_port = fine;
        *(volatile uint16_t *)&changing.inet.sin_port = forbidden;
    }
    return NULL;
}

static void *flip_name(void *unused) {
    while (racing) {
        *(void *volatile *)&changing_message.msg_name = NULL;
        *(void *volatile *)&changing_message.msg_name = &changing;
    }
    return unused;
}

static void *flip_abstract(void *unused) {
    while (racing) {
        memcpy(&changing.local, own_name, name_size);
        __asm__ volatile("" ::: "memory");
        memcpy(&changing.local, outer_name, name_size);
        __asm__ volatile("" ::: "memory");
    }
    return unused;
}

static void race(void *(*flip)(void *), void *argument, void (*once)(void)) {
    pthread_t thread;
    racing = 1;
    pthread_create(&thread, NULL, flip, argument);
    for (int i = 0; i < ROUNDS; i++)
        once();
    racing = 0;
    pthread_join(thread, NULL);
}

static int raced;

static void once_stream(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    connect(fd, (void *)&changing.inet, sizeof changing.inet);
    close(fd);
}

static void once_datagram(void) {
    struct iovec data = {"x", 1};
    struct msghdr message = {.msg_name = &changing, .msg_namelen = sizeof changing.inet, .msg_iov = &data,
                             .msg_iovlen = 1};
    sendto(raced, "x", 1, 0, (void *)&changing.inet, sizeof changing.inet);
    sendmsg(raced, &message, 0);
}

static void once_message(void) { sendmsg(raced, &changing_message, 0); }

static void once_abstract(void) {
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    connect(fd, (void *)&changing.local, name_size);
    close(fd);
}

static int places[2];

static void *flip_descriptor(void *unused) {
    while (racing)
        dup2(places[0], raced), dup2(places[1], raced);
    return unused;
}

static void once_descriptor(void) {
    struct sockaddr_in at = inet_at(udp_port);
    sendto(raced, "x", 1, MSG_DONTWAIT, (void *)&at, sizeof at);
    connect(raced, (void *)&at, sizeof at);
}

static void race_attempts(int inherited_udp) {
    uint16_t tcp = (uint16_t)tcp_port, udp = (uint16_t)udp_port;
    changing.inet = inet_at(allowed);
    if (allowed) {
        race(flip_port, &tcp, once_stream);
        raced = socket(AF_INET, SOCK_DGRAM, 0);
        race(flip_port, &udp, once_datagram);
        close(raced);
    }
    struct iovec data = {"x", 1};
    changing.inet = inet_at(udp_port);
    changing_message = (struct msghdr){.msg_namelen = sizeof changing.inet, .msg_iov = &data, .msg_iovlen = 1};
    raced = inherited_udp;
    struct sockaddr nothing = {.sa_family = AF_UNSPEC};
    connect(raced, &nothing, sizeof nothing);
    race(flip_name, NULL, once_message);

    struct sockaddr_un at;
    name_size = unix_at(&at, "-stream");
    memcpy(outer_name, &at, name_size);
    at.sun_path[1] = '#'; /* a name of the same length, which is ours */
    memcpy(own_name, &at, name_size);
    int own = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(own, (void *)&at, name_size) || listen(own, 1))
        printf("own abstract name: %s\n", strerror(errno));
    memcpy(&changing.local, own_name, name_size);
    race(flip_abstract, NULL, once_abstract);

    int pair[2];
    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0) {
        places[0] = pair[0], places[1] = inherited_udp, raced = dup(pair[0]);
        race(flip_descriptor, NULL, once_descriptor);
    }
    int file = open("/dev/null", O_WRONLY);
    places[0] = file;
    race(flip_descriptor, NULL, once_descriptor);
    printf("races: done\n");
}

int main(int count, char **words) {
    if (count != 11)
        return 2;
    signal(SIGPIPE, SIG_IGN);
    tcp_port = atoi(words[1]), udp_port = atoi(words[2]), abstract = words[3], allowed = atoi(words[10]);
    int stream = atoi(words[4]), datagram = atoi(words[5]), listener = atoi(words[6]);
    family_attempts();
    abstract_attempts();
    stream_attempts("inherited", stream);
    datagram_attempts("inherited", datagram);
    listener_attempts("inherited", listener);
    received_attempts(words[7]);
    process_attempts(atoi(words[8]), atoi(words[9]));
    other_attempts();
#ifdef __x86_64__
    call32_attempts(datagram);
#endif
    race_attempts(datagram);
    printf("attempts that got out: %d\n", failures);
    return 0;
}
