/* test_decide.c - verdicts on calls that this process could make, in a scratch directory with mounts. */
#include "../include/diorama.h"
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../arch/arch.h"
#include "../listener.h"

enum { STAT, LSTAT, OPEN, READLINK, ACCESS, FSTAT, GETCWD, CONNECT, EXEC, RENAME, CHDIR, TRUNCATE, SENDMSG, CLOSE, CLOSE_RANGE, DUP2, SPLICE,
       SENDS, RECEIVES, UNLISTED };

static char top[64], path[512], other[512];
static struct dio_decider *decider;

#define PATH(n, how) {.path_arg = (n), .dirfd_arg = DIO_NO_ARG, .follow = (how), .flags_arg = DIO_NO_ARG}
#define CALL(number, how, ...) {.abi = ARCH_NATIVE, .nr = (number), .settle = (how), __VA_ARGS__}

static const struct dio_decision decisions[] = {
    CALL(RENAME, DIO_SETTLE_PATHS, .path_count = 2, .paths = {PATH(0, DIO_FOLLOW_NEVER), PATH(1, DIO_FOLLOW_NEVER)}),
    CALL(STAT, DIO_SETTLE_PATHS, .op = DIO_DO_STAT, .path_count = 1, .paths = {PATH(0, DIO_FOLLOW_ALWAYS)}),
    CALL(LSTAT, DIO_SETTLE_PATHS, .op = DIO_DO_STAT, .path_count = 1, .paths = {PATH(0, DIO_FOLLOW_NEVER)},
         .fixed_flags = AT_SYMLINK_NOFOLLOW),
    CALL(OPEN, DIO_SETTLE_PATHS, .op = DIO_DO_OPEN, .path_count = 1, .flags_arg = 1,
         .paths = {{.path_arg = 0, .dirfd_arg = DIO_NO_ARG, .follow = DIO_FOLLOW_OPEN, .flags_arg = 1}}),
    CALL(READLINK, DIO_SETTLE_PATHS, .op = DIO_DO_READLINK, .path_count = 1, .paths = {PATH(0, DIO_FOLLOW_NEVER)}),
    CALL(ACCESS, DIO_SETTLE_PATHS, .op = DIO_DO_ACCESS, .path_count = 1, .paths = {PATH(0, DIO_FOLLOW_ALWAYS)}),
    CALL(FSTAT, DIO_SETTLE_FD, .arg = 0),
    CALL(CLOSE, DIO_SETTLE_FD, .arg = 0, .needs = DIO_NEEDS_NO_WRITER),
    CALL(CLOSE_RANGE, DIO_SETTLE_ANY_FD),
    CALL(DUP2, DIO_SETTLE_FD, .arg = 1, .arg2 = 0, .needs = DIO_NEEDS_NO_WRITER),
    CALL(SPLICE, DIO_SETTLE_FD, .arg = 0, .arg2 = 1),
    CALL(GETCWD, DIO_SETTLE_CWD, .arg = 0),
    CALL(CONNECT, DIO_SETTLE_ADDRESS, .arg = 1, .arg2 = 2, .paths = {PATH(1, DIO_FOLLOW_ALWAYS)}),
    CALL(SENDMSG, DIO_SETTLE_MESSAGE, .arg = 1, .paths = {PATH(1, DIO_FOLLOW_ALWAYS)}),
    CALL(SENDS, DIO_SETTLE_BARE, .arg = 1, .arg2 = 0, .flags_arg = 2),
    CALL(RECEIVES, DIO_SETTLE_BARE, .arg = 1, .arg2 = DIO_NO_ARG, .flags_arg = 2),
    CALL(EXEC, DIO_SETTLE_EXEC, .path_count = 1, .paths = {PATH(0, DIO_FOLLOW_ALWAYS)}),
    CALL(CHDIR, DIO_SETTLE_PATHS, .needs = DIO_NEEDS_PLAIN_CWD, .path_count = 1, .paths = {PATH(0, DIO_FOLLOW_ALWAYS)}),
    CALL(TRUNCATE, DIO_SETTLE_PATHS, .path_count = 1, .paths = {PATH(0, DIO_FOLLOW_ALWAYS)}),
};

static struct dio_decision with_buffers[sizeof decisions / sizeof *decisions];

static const char *in(const char *name) {
    snprintf(path, sizeof path, "%s%s", top, name);
    return path;
}

static struct dio_verdict ask(int nr, const void *first, uint64_t second, uint64_t third) {
    struct dio_asked asked = {.tid = getpid(), .abi = ARCH_NATIVE, .nr = nr, .may_give = 1};
    struct dio_verdict verdict;
    asked.args[0] = (uint64_t)(uintptr_t)first;
    asked.args[1] = second;
    asked.args[2] = third;
    CHECK_EQ(dio_decide(decider, &asked, &verdict), 0);
    return verdict;
}

static uint32_t kind(int nr, const char *name) { return ask(nr, in(name), 0, 0).kind; }
static uint64_t address(const void *of) { return (uint64_t)(uintptr_t)of; }

static void file_make(const char *name, const char *content) {
    int fd = open(in(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    CHECK_EQ(write(fd, content, strlen(content)), strlen(content));
    close(fd);
}

/* /plain /source/{file,dir/deep,link -> file,script} /bound=source /ro=source /made=synthetic /to -> bound */
static void tree_make(void) {
    static const char *const directories[] = {"/plain", "/source", "/source/dir", "/private"};
    snprintf(top, sizeof top, "/tmp/test_decide.%d", getpid());
    CHECK_EQ(mkdir(top, 0755), 0);
    for (size_t i = 0; i < sizeof directories / sizeof *directories; i++)
        CHECK_EQ(mkdir(in(directories[i]), 0755), 0);
    file_make("/plain/file", "plain");
    file_make("/plain/script", "#!/bin/sh\n");
    file_make("/source/file", "content");
    file_make("/source/dir/deep", "deep");
    CHECK_EQ(symlink("file", in("/source/link")), 0);
    CHECK_EQ(symlink("bound", in("/to")), 0);
    CHECK_EQ(symlink("plain", in("/aside")), 0);
    CHECK_EQ(symlink("/proc/self/fd", in("/fds")), 0);
    CHECK_EQ(symlink("loop", in("/loop")), 0);
}

static void tree_remove(void) {
    static const char *const names[] = {"/plain/file", "/plain/script", "/source/file", "/source/dir/deep", "/source/link",
                                        "/to", "/aside", "/fds", "/loop", "/source/dir", "/source", "/plain", "/private", ""};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        CHECK_EQ(remove(in(names[i])), 0);
}

static int load(uint32_t flags) {
    char points[3][96], host[96], prefix[96], other[96];
    const char *const privates[] = {other, prefix, NULL};
    static const char *const names[] = {"/bound", "/ro", "/made"};
    for (int i = 0; i < 3; i++)
        snprintf(points[i], sizeof points[i], "%s%s", top, names[i]);
    snprintf(host, sizeof host, "%s/source", top);
    snprintf(prefix, sizeof prefix, "%s/private", top);
    snprintf(other, sizeof other, "%s/secret", top);
    const struct dio_mounted mounts[] = {
        {.parent = -1, .host = "", .directory = 1},
        {.parent = 0, .point = points[0], .host = host, .directory = 1},
        {.parent = 0, .point = points[1], .host = host, .directory = 1, .read_only = 1},
        {.parent = 0, .point = points[2], .directory = 1, .read_only = 1},
    };
    memcpy(with_buffers, decisions, sizeof decisions);
    for (size_t i = 0; i < sizeof decisions / sizeof *decisions; i++) {
        if (decisions[i].nr != OPEN && decisions[i].nr != SENDS)
            with_buffers[i].flags_arg = DIO_NO_ARG;
        with_buffers[i].buffer_arg = 1;
        with_buffers[i].size_arg = 2;
        with_buffers[i].mode_arg = 1;
    }
    return dio_decider_load(decider, with_buffers, sizeof decisions / sizeof *decisions, mounts, 4, privates, flags);
}

static void check_untouched(void) {
    static const char *const run[] = {"/plain/file", "/plain", "/none", "/none/x", "/plain/file/x", "/aside/file", "/aside/../plain",
                                      "/loop", "/./plain/./file", "//plain//file/", "/plain/../../tmp", "/bounds", "/bound2/x"};
    for (size_t i = 0; i < sizeof run / sizeof *run; i++)
        CHECK_EQ(kind(TRUNCATE, run[i]), DIO_VERDICT_RUN);
    static const char *const ask_them[] = {"/bound", "/bound/none", "/to/file", "/made", "/made/x", "/plain/../bound/file", "/aside/../bound",
                                           "/private/d0", "/secret/d0", "/bound/..", "/bound/../plain", "/fds/0"};
    for (size_t i = 0; i < sizeof ask_them / sizeof *ask_them; i++)
        CHECK_EQ(kind(TRUNCATE, ask_them[i]), DIO_VERDICT_ASK);
    CHECK_EQ(kind(LSTAT, "/to"), DIO_VERDICT_RUN);
    CHECK_EQ(ask(STAT, "/proc/self/status", 0, 0).kind, DIO_VERDICT_RUN);
    CHECK_EQ(ask(STAT, "/proc/cpuinfo", 0, 0).kind, DIO_VERDICT_RUN);
    CHECK_EQ(ask(STAT, "/proc/mounts", 0, 0).kind, DIO_VERDICT_ASK);
    CHECK_EQ(ask(STAT, "/proc/self/exe", 0, 0).kind, DIO_VERDICT_ASK);
    CHECK_EQ(ask(STAT, "/proc/1/task/1/cwd", 0, 0).kind, DIO_VERDICT_ASK);
    CHECK_EQ(ask(STAT, (const void *)8, 0, 0).kind, DIO_VERDICT_RUN);
    CHECK_EQ(ask(STAT, "", 0, 0).kind, DIO_VERDICT_RUN);
    CHECK_EQ(kind(UNLISTED, "/plain"), DIO_VERDICT_ASK);
    snprintf(other, sizeof other, "%s/plain/x", top);
    CHECK_EQ(ask(RENAME, in("/plain/file"), address(other), 0).kind, DIO_VERDICT_RUN);
    CHECK_EQ(ask(RENAME, in("/bound/file"), address(other), 0).kind, DIO_VERDICT_ASK);
    CHECK_EQ(ask(RENAME, other, address(in("/bound/file")), 0).kind, DIO_VERDICT_ASK);
}

static void check_done(void) {
    struct stat have, want;
    char text[64];
    memset(&have, 0, sizeof have);
    struct dio_verdict v = ask(STAT, in("/to/dir/../link"), address(&have), 0);
    CHECK_EQ(v.kind, DIO_VERDICT_VALUE);
    CHECK_EQ(v.value, 0);
    CHECK_EQ(stat(in("/source/file"), &want), 0);
    CHECK_EQ(memcmp(&have, &want, sizeof have), 0);
    CHECK_EQ(ask(LSTAT, in("/bound/link"), address(&have), 0).value, 0);
    CHECK_EQ(S_ISLNK(have.st_mode), 1);
    CHECK_EQ(ask(STAT, in("/bound/none"), address(&have), 0).value, -ENOENT);
    CHECK_EQ(ask(STAT, in("/bound/file/x"), address(&have), 0).value, -ENOTDIR);
    CHECK_EQ(ask(STAT, in("/bound/file"), 8, 0).value, -EFAULT);
    CHECK_EQ(ask(STAT, in("/bound/../plain/file"), address(&have), 0).value, 0);
    CHECK_EQ(have.st_size, 5);
    CHECK_EQ(ask(READLINK, in("/bound/link"), address(text), 2).value, 2);
    CHECK_EQ(memcmp(text, "fi", 2), 0);
    CHECK_EQ(ask(READLINK, in("/bound/file"), address(text), 2).value, -EINVAL);
    CHECK_EQ(ask(READLINK, in("/bound/link"), address(text), 0).kind, DIO_VERDICT_ASK);
    CHECK_EQ(ask(ACCESS, in("/bound/file"), R_OK | W_OK, 0).value, 0);
    CHECK_EQ(ask(ACCESS, in("/ro/file"), W_OK, 0).kind, DIO_VERDICT_ASK);
    CHECK_EQ(ask(ACCESS, in("/ro/file"), R_OK, 0).kind, DIO_VERDICT_VALUE);
    CHECK_EQ(ask(ACCESS, in("/ro/file"), 8, 0).kind, DIO_VERDICT_ASK);
}

/* The mount that this process is noted to have opened a descriptor through. */
static int through(int fd) {
    struct stat status;
    CHECK_EQ(fstat(fd, &status), 0);
    return dio_decider_opened_through(decider, getpid(), status.st_dev, status.st_ino);
}

/* And that anybody is noted to have reached its file by. */
static int reached(int fd) {
    struct stat status;
    CHECK_EQ(fstat(fd, &status), 0);
    return dio_decider_reached(decider, status.st_dev, status.st_ino);
}

static void check_reached(void) {
    int fd = open(in("/plain/file"), O_RDONLY | O_CLOEXEC);
    struct stat status;
    CHECK_EQ(reached(fd), -1);
    CHECK_EQ(fstat(fd, &status), 0);
    CHECK_EQ(dio_decider_reach(decider, status.st_dev, status.st_ino, 2), 0);
    CHECK_EQ(reached(fd), 2);
    CHECK_EQ(dio_decider_reached(decider, status.st_dev + 1, status.st_ino), -1);
    for (uint64_t i = 1; i < 100000; i++)
        CHECK_EQ(dio_decider_reach(decider, status.st_dev, status.st_ino + i, 1), 0);
    CHECK_EQ(dio_decider_reached(decider, status.st_dev, status.st_ino + 99999), 1);
    CHECK_EQ(dio_decider_reach(decider, status.st_dev, status.st_ino, 0), 0);
    CHECK_EQ(reached(fd), -1);
    close(fd);
}

static void check_open(void) {
    char text[16] = "";
    struct dio_verdict v = ask(OPEN, in("/bound/link"), O_RDONLY | O_CLOEXEC, 0);
    CHECK_EQ(through(v.fd), -1);
    CHECK_EQ(reached(v.fd), 1);
    CHECK_EQ(v.kind, DIO_VERDICT_GIVE);
    CHECK_EQ(v.fd_flags, O_CLOEXEC);
    CHECK_EQ(read(v.fd, text, sizeof text), 7);
    CHECK_EQ(fcntl(v.fd, F_GETFL) & O_NONBLOCK, 0);
    close(v.fd);
    CHECK_EQ(ask(OPEN, in("/bound/none"), O_RDONLY, 0).value, -ENOENT);
    static const uint32_t asked[] = {O_PATH, O_TMPFILE | O_RDWR, O_CREAT | O_EXCL, O_NOFOLLOW, O_ACCMODE};
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++)
        CHECK_EQ(ask(OPEN, in("/bound/link"), asked[i], 0).kind, DIO_VERDICT_ASK);
    CHECK_EQ(ask(OPEN, in("/bound/none"), O_CREAT | O_WRONLY, 0).kind, DIO_VERDICT_ASK);
    CHECK_EQ(ask(OPEN, in("/bound/dir"), O_RDWR, 0).kind, DIO_VERDICT_ASK);
    v = ask(OPEN, in("/bound/dir"), O_RDONLY | O_DIRECTORY, 0);
    CHECK_EQ(v.kind, DIO_VERDICT_GIVE);
    CHECK_EQ(through(v.fd), 1);
    close(v.fd);
    v = ask(OPEN, in("/ro/file"), O_RDONLY | O_NONBLOCK, 0);
    CHECK_EQ(v.kind, DIO_VERDICT_GIVE);
    CHECK_EQ(through(v.fd) > 1, 1);
    CHECK_EQ(fcntl(v.fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    close(v.fd);
    CHECK_EQ(ask(OPEN, in("/ro/file"), O_RDWR, 0).kind, DIO_VERDICT_ASK);
    CHECK_EQ(ask(OPEN, in("/ro/file"), O_TRUNC, 0).kind, DIO_VERDICT_ASK);
    CHECK_EQ(load(DIO_DECIDE_ON_BEHALF), 0);
}

static void check_state(void) {
    struct dio_process process = {.cwd_mount = 1};
    struct stat status;
    char link[40];
    int fd = memfd_create("virtual", MFD_CLOEXEC);
    CHECK_EQ(fstat(fd, &status), 0);
    CHECK_EQ(ask(FSTAT, (const void *)(intptr_t)fd, 0, 0).kind, DIO_VERDICT_RUN);
    CHECK_EQ(ask(CLOSE, (const void *)(intptr_t)fd, 0, 0).kind, DIO_VERDICT_RUN);
    CHECK_EQ(ask(CLOSE_RANGE, NULL, 0, 0).kind, DIO_VERDICT_RUN);
    CHECK_EQ(dio_decider_identity(decider, status.st_dev, 0), 0);
    CHECK_EQ(ask(FSTAT, (const void *)(intptr_t)fd, 0, 0).kind, DIO_VERDICT_ASK);
    CHECK_EQ(ask(CLOSE, (const void *)(intptr_t)fd, 0, 0).kind, DIO_VERDICT_ASK);
    CHECK_EQ(ask(CLOSE_RANGE, NULL, 0, 0).kind, DIO_VERDICT_ASK);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int reader = open(link, O_RDONLY | O_CLOEXEC);
    CHECK_EQ(ask(CLOSE, (const void *)(intptr_t)reader, 0, 0).kind, DIO_VERDICT_RUN);
    CHECK_EQ(ask(SPLICE, NULL, (uint64_t)fd, 0).kind, DIO_VERDICT_ASK);
    CHECK_EQ(ask(DUP2, NULL, (uint64_t)fd, 0).kind, DIO_VERDICT_ASK);
    CHECK_EQ(ask(DUP2, (const void *)(intptr_t)fd, 0, 0).kind, DIO_VERDICT_RUN);
    int pair[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    CHECK_EQ(ask(DUP2, (const void *)(intptr_t)pair[0], 0, 0).kind, DIO_VERDICT_RUN);
    CHECK_EQ(fstat(pair[0], &status), 0);
    CHECK_EQ(dio_decider_identity(decider, status.st_dev, status.st_ino), 0);
    CHECK_EQ(ask(DUP2, (const void *)(intptr_t)pair[0], 0, 0).kind, DIO_VERDICT_ASK);
    close(pair[0]);
    close(pair[1]);
    CHECK_EQ(fstat(fd, &status), 0);
    close(reader);
    close(fd);
    CHECK_EQ(ask(FSTAT, (const void *)(intptr_t)fd, 0, 0).kind, DIO_VERDICT_RUN);
    CHECK_EQ(ask(FSTAT, (const void *)(intptr_t)-1, 0, 0).kind, DIO_VERDICT_RUN);

    CHECK_EQ(ask(GETCWD, NULL, 0, 0).kind, DIO_VERDICT_RUN);
    CHECK_EQ(kind(CHDIR, "/plain"), DIO_VERDICT_RUN);
    CHECK_EQ(dio_decider_process(decider, getpid(), &process), 0);
    CHECK_EQ(ask(GETCWD, NULL, 0, 0).kind, DIO_VERDICT_ASK);
    CHECK_EQ(kind(CHDIR, "/plain"), DIO_VERDICT_ASK);
    CHECK_EQ(kind(STAT, "/plain/file"), DIO_VERDICT_RUN);
    process = (struct dio_process){.cwd_mount = -1, .ask_exec = 1};
    CHECK_EQ(dio_decider_process(decider, getpid(), &process), 0);
    CHECK_EQ(kind(EXEC, "/plain/file"), DIO_VERDICT_ASK);
    process.ask_all = 1;
    CHECK_EQ(dio_decider_process(decider, getpid(), &process), 0);
    CHECK_EQ(kind(STAT, "/plain/file"), DIO_VERDICT_ASK);
    CHECK_EQ(dio_decider_process(decider, getpid(), NULL), 0);
    CHECK_EQ(kind(EXEC, "/plain/file"), DIO_VERDICT_RUN);
    CHECK_EQ(kind(EXEC, "/plain/script"), DIO_VERDICT_ASK);

    CHECK_EQ(stat(in("/plain/file"), &status), 0);
    CHECK_EQ(dio_decider_opened(decider, getpid(), status.st_dev, status.st_ino, 1), 0);
    CHECK_EQ(ask(OPEN, in("/plain/file"), O_RDONLY, 0).kind, DIO_VERDICT_ASK);
    dio_decider_forget(decider, getpid());
    CHECK_EQ(ask(OPEN, in("/plain/file"), O_RDONLY, 0).kind, DIO_VERDICT_RUN);
}

static void check_addresses(void) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    struct msghdr message = {.msg_name = &to, .msg_namelen = sizeof to};
    snprintf(to.sun_path, sizeof to.sun_path, "%s/plain/socket", top);
    CHECK_EQ(ask(CONNECT, NULL, address(&to), sizeof to).kind, DIO_VERDICT_RUN);
    CHECK_EQ(ask(SENDMSG, NULL, address(&message), 0).kind, DIO_VERDICT_RUN);
    snprintf(to.sun_path, sizeof to.sun_path, "%s/bound/socket", top);
    CHECK_EQ(ask(CONNECT, NULL, address(&to), sizeof to).kind, DIO_VERDICT_ASK);
    CHECK_EQ(ask(SENDMSG, NULL, address(&message), 0).kind, DIO_VERDICT_ASK);
    message.msg_name = NULL;
    CHECK_EQ(ask(SENDMSG, NULL, address(&message), 0).kind, DIO_VERDICT_RUN);
    CHECK_EQ(ask(CONNECT, NULL, address(&to), 2).kind, DIO_VERDICT_RUN);
    to.sun_path[0] = 0;
    CHECK_EQ(ask(CONNECT, NULL, address(&to), sizeof to).kind, DIO_VERDICT_RUN);
    to.sun_family = AF_INET;
    CHECK_EQ(ask(CONNECT, NULL, address(&to), sizeof to).kind, DIO_VERDICT_RUN);
}

static uint32_t message_kind(int nr, int domain, int type, const struct msghdr *message, uint64_t flags) {
    int fd = socket(domain, type | SOCK_CLOEXEC, 0);
    struct dio_verdict verdict = ask(nr, (void *)(uintptr_t)fd, address(message), flags);
    close(fd);
    return verdict.kind;
}

static void check_bare(void) {
    char room[8] = "";
    struct msghdr bare = {.msg_name = NULL}, named = {.msg_name = room}, attached = {.msg_control = room};
    CHECK_EQ(message_kind(SENDS, AF_INET, SOCK_STREAM, &bare, 0), DIO_VERDICT_RUN);
    CHECK_EQ(message_kind(SENDS, AF_INET6, SOCK_STREAM, &bare, MSG_NOSIGNAL), DIO_VERDICT_RUN);
    CHECK_EQ(message_kind(SENDS, AF_UNIX, SOCK_STREAM, &bare, 0), DIO_VERDICT_RUN);
    CHECK_EQ(message_kind(SENDS, AF_INET, SOCK_STREAM, &bare, MSG_FASTOPEN), DIO_VERDICT_ASK);
    CHECK_EQ(message_kind(SENDS, AF_INET, SOCK_DGRAM, &bare, 0), DIO_VERDICT_ASK);
    CHECK_EQ(message_kind(SENDS, AF_UNIX, SOCK_DGRAM, &bare, 0), DIO_VERDICT_ASK);
    CHECK_EQ(message_kind(RECEIVES, AF_INET, SOCK_DGRAM, &bare, 0), DIO_VERDICT_RUN);
    for (int nr = SENDS; nr <= RECEIVES; nr++) {
        CHECK_EQ(message_kind(nr, AF_INET, SOCK_STREAM, &named, 0), DIO_VERDICT_ASK);
        CHECK_EQ(message_kind(nr, AF_INET, SOCK_STREAM, &attached, 0), DIO_VERDICT_ASK);
        CHECK_EQ(ask(nr, NULL, 8, 0).kind, DIO_VERDICT_ASK);
    }
    CHECK_EQ(ask(SENDS, (void *)(uintptr_t)-1, address(&bare), 0).kind, DIO_VERDICT_ASK);
    CHECK_EQ(ask(SENDS, NULL, address(&bare), 0).kind, DIO_VERDICT_ASK);
}

/* Whoever receives steps aside before it may have to wait, if somebody is there. */
static void check_waiting(void) {
    struct dio_listener listener = {.receivers = 1};
    struct dio_verdict verdict;
    uint8_t aside = 0;
    struct dio_asked asked = {.tid = getpid(), .abi = ARCH_NATIVE, .nr = TRUNCATE, .args = {address(path)},
                              .listener = &listener, .aside = &aside};
    CHECK_EQ(pthread_mutex_init(&listener.lock, NULL), 0);
    CHECK_EQ(pthread_cond_init(&listener.changed, NULL), 0);
    in("/plain/file");
    CHECK_EQ(dio_decide(decider, &asked, &verdict), 0);
    CHECK_EQ(verdict.kind, DIO_VERDICT_RUN);
    CHECK_EQ(aside, 0); /* the caches know it */
    in("/plain/nobody-has-asked-for-this");
    CHECK_EQ(dio_decide(decider, &asked, &verdict), 0);
    CHECK_EQ(verdict.kind, DIO_VERDICT_ASK); /* nobody else would receive */
    CHECK_EQ(aside, 0);
    listener.idle = 1;
    in("/plain/nor-for-this");
    CHECK_EQ(dio_decide(decider, &asked, &verdict), 0);
    CHECK_EQ(verdict.kind, DIO_VERDICT_RUN);
    CHECK_EQ(aside, 1);
    CHECK_EQ(listener.receivers, 0);
    in("/plain/and-this");
    CHECK_EQ(dio_decide(decider, &asked, &verdict), 0);
    CHECK_EQ(listener.receivers, 0); /* once is enough */
    pthread_cond_destroy(&listener.changed);
    pthread_mutex_destroy(&listener.lock);
}

static void *decide_often(void *unused) {
    char text[128];
    (void)unused;
    snprintf(text, sizeof text, "%s/plain/file", top);
    for (int i = 0; i < 300; i++) {
        struct dio_asked asked = {.tid = getpid(), .abi = ARCH_NATIVE, .nr = TRUNCATE, .args = {address(text)}};
        struct dio_verdict verdict;
        dio_decide(decider, &asked, &verdict);
        if (verdict.kind != DIO_VERDICT_RUN)
            return decider;
    }
    return NULL;
}

static void check_threads(void) {
    pthread_t threads[4];
    void *failed;
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, decide_often, NULL), 0);
    for (int i = 0; i < 200; i++)
        CHECK_EQ(load(DIO_DECIDE_ON_BEHALF), 0);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(pthread_join(threads[i], &failed), 0);
        CHECK_EQ(failed == NULL, 1);
    }
}

static void check_load(void) {
    const struct dio_mounted no_root = {.parent = -1, .host = "/x"};
    const struct dio_mounted circle[] = {{.parent = -1, .host = ""}, {.parent = 1, .point = "/a", .host = "/b"}};
    const struct dio_mounted slash[] = {{.parent = -1, .host = ""}, {.parent = 0, .point = "/a/", .host = "/b"}};
    CHECK_EQ(dio_decider_load(decider, NULL, 0, NULL, 0, NULL, 0), -EINVAL);
    CHECK_EQ(dio_decider_load(decider, NULL, 0, &no_root, 1, NULL, 0), -EINVAL);
    CHECK_EQ(dio_decider_load(decider, NULL, 0, circle, 2, NULL, 0), -EINVAL);
    CHECK_EQ(dio_decider_load(decider, NULL, 0, slash, 2, NULL, 0), -EINVAL);
    CHECK_EQ(kind(TRUNCATE, "/plain/file"), DIO_VERDICT_RUN);
}

int main(void) {
    tree_make();
    CHECK_EQ(dio_decider_new(&decider), 0);
    CHECK_EQ(kind(STAT, "/plain/file"), DIO_VERDICT_ASK);
    CHECK_EQ(load(0), 0);
    CHECK_EQ(kind(STAT, "/bound/file"), DIO_VERDICT_ASK);
    CHECK_EQ(load(DIO_DECIDE_ON_BEHALF), 0);
    check_untouched();
    check_done();
    check_open();
    check_reached();
    check_addresses();
    check_bare();
    check_state();
    check_waiting();
    check_threads();
    check_load();
    dio_decider_free(decider);
    dio_decider_free(NULL);
    tree_remove();
    return checks_report("decide");
}
