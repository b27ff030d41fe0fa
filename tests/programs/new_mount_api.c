/* The mount calls that work on descriptors, each step with what the kernel says to it.
 *
 * new_mount_api DIRECTORY: a scratch directory with a/file, a/sub/file, b/only, mnt/ and mnt2/ in it.  Says the
 * same natively, in a mount namespace of its own, and in a view that grows. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    NR_OPEN_TREE = 428, NR_MOVE_MOUNT, NR_FSOPEN, NR_FSCONFIG, NR_FSMOUNT, NR_FSPICK,
    NR_MOUNT_SETATTR = 442,
    CLONE_TREE = 1, TREE_CLOEXEC = 02000000, RECURSIVE = 0x8000,
    F_EMPTY = 4, T_EMPTY = 0x40,
    SET_FLAG = 0, SET_STRING, SET_BINARY, SET_PATH, SET_PATH_EMPTY, SET_FD, CREATE, RECONFIGURE,
    ATTR_RDONLY = 1, ATTR_NOEXEC = 8
};

struct attributes {
    unsigned long long set, clear, propagation, userns;
};

static const char *name_of(int error) {
    static char other[32];
    static const struct { int number; const char *name; } names[] = {
        {EINVAL, "EINVAL"}, {EBADF, "EBADF"}, {ENOENT, "ENOENT"}, {EBUSY, "EBUSY"}, {ENODEV, "ENODEV"},
        {ENOTDIR, "ENOTDIR"}, {EROFS, "EROFS"}, {EPERM, "EPERM"}, {E2BIG, "E2BIG"}, {EOPNOTSUPP, "EOPNOTSUPP"},
        {ELOOP, "ELOOP"}, {ENOSYS, "ENOSYS"}, {EFAULT, "EFAULT"}, {EXDEV, "EXDEV"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].number == error)
            return names[i].name;
    snprintf(other, sizeof other, "%d", error);
    return other;
}

static long told(const char *what, long result) {
    printf("%s: %s\n", what, result < 0 ? name_of(errno) : "done");
    fflush(stdout);
    return result;
}

static long config(int fd, unsigned command, const char *key, const void *value, int extra) {
    return syscall(NR_FSCONFIG, fd, command, key, value, extra);
}

static int compare(const void *left, const void *right) {
    return strcmp(*(char *const *)left, *(char *const *)right);
}

static void list(const char *what, int dirfd, const char *path) {
    char *names[64];
    size_t count = 0;
    int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    printf("%s:", what);
    if (!directory) {
        printf(" %s\n", name_of(errno));
        return;
    }
    for (struct dirent *entry; (entry = readdir(directory)) && count < 64;)
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            names[count++] = strdup(entry->d_name);
    qsort(names, count, sizeof *names, compare);
    for (size_t i = 0; i < count; i++)
        printf(" %s", names[i]);
    printf("\n");
    closedir(directory);
}

static void content(const char *what, int dirfd, const char *path) {
    char text[64] = "";
    int fd = openat(dirfd, path, O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    printf("%s: %s", what, n < 0 ? name_of(errno) : text);
    if (n < 0 || !strchr(text, '\n'))
        printf("\n");
    if (fd >= 0)
        close(fd);
}

static void trees(void) {
    int fd = (int)told("clone", syscall(NR_OPEN_TREE, AT_FDCWD, "a", CLONE_TREE | TREE_CLOEXEC));
    int second = (int)told("clone again", syscall(NR_OPEN_TREE, AT_FDCWD, "a", CLONE_TREE));
    struct stat status, original;
    char text[8];
    int back = open(".", O_RDONLY);
    printf("cloexec: %d %d\n", fcntl(fd, F_GETFD), fcntl(second, F_GETFD));
    list("in it", fd, ".");
    content("below it", fd, "sub/file");
    list("above it", fd, "..");
    told("go there", fchdir(fd));
    content("from there", AT_FDCWD, "sub/file");
    printf("in the real one: %d\n", !stat(".", &status) && !stat("sub", &original) && status.st_ino != original.st_ino);
    told("go back", fchdir(back));
    printf("same file: %d\n", !fstat(fd, &status) && !stat("a", &original) && status.st_ino == original.st_ino);
    printf("by number: %d\n", !syscall(SYS_fstat, fd, &status) && status.st_ino == original.st_ino);
    close(back);
    printf("is a path only: %d\n", read(fd, text, 1) < 0 && errno == EBADF);
    told("put", syscall(NR_MOVE_MOUNT, fd, "", AT_FDCWD, "mnt", F_EMPTY));
    list("put there", AT_FDCWD, "mnt");
    told("put again", syscall(NR_MOVE_MOUNT, fd, "", AT_FDCWD, "mnt2", F_EMPTY));
    list("moved from", AT_FDCWD, "mnt");
    list("moved to", AT_FDCWD, "mnt2");
    int target = open("mnt", O_PATH);
    told("put on a descriptor", syscall(NR_MOVE_MOUNT, second, "", target, "", F_EMPTY | T_EMPTY));
    content("there", AT_FDCWD, "mnt/sub/file");
    close(target);
    told("busy", umount2("mnt", 0));
    close(second);
    told("taken away", umount2("mnt", 0));
    close(fd);
    told("taken away too", umount2("mnt2", 0));
    fd = (int)syscall(NR_OPEN_TREE, AT_FDCWD, "a/file", CLONE_TREE);
    told("a file on a directory", syscall(NR_MOVE_MOUNT, fd, "", AT_FDCWD, "mnt", F_EMPTY));
    told("a file on a file", syscall(NR_MOVE_MOUNT, fd, "", AT_FDCWD, "b/only", F_EMPTY));
    close(fd);
    content("shown", AT_FDCWD, "b/only");
    told("and gone", umount2("b/only", 0));
    told("recursive alone", syscall(NR_OPEN_TREE, AT_FDCWD, "a", RECURSIVE));
    told("unknown flag", syscall(NR_OPEN_TREE, AT_FDCWD, "a", 0x40000000));
    told("nothing", syscall(NR_OPEN_TREE, AT_FDCWD, "nothing", CLONE_TREE));
    told("no mount", syscall(NR_MOVE_MOUNT, AT_FDCWD, "a", AT_FDCWD, "mnt", 0));
    told("bad descriptor", syscall(NR_MOVE_MOUNT, 99, "", AT_FDCWD, "mnt", F_EMPTY));
    told("unknown move", syscall(NR_MOVE_MOUNT, AT_FDCWD, "a", AT_FDCWD, "mnt", 0x8000));
    fd = (int)told("plain", syscall(NR_OPEN_TREE, AT_FDCWD, "a", 0));
    content("below plain", fd, "file");
    close(fd);
}

static void recursion(void) {
    told("bind", mount("b", "a/sub", NULL, MS_BIND, NULL));
    int flat = (int)syscall(NR_OPEN_TREE, AT_FDCWD, "a", CLONE_TREE);
    int deep = (int)syscall(NR_OPEN_TREE, AT_FDCWD, "a", CLONE_TREE | RECURSIVE);
    list("flat", flat, "sub");
    list("deep", deep, "sub");
    told("put deep", syscall(NR_MOVE_MOUNT, deep, "", AT_FDCWD, "mnt", F_EMPTY));
    close(deep);
    close(flat);
    list("deep there", AT_FDCWD, "mnt/sub");
    told("busy by what is on it", umount2("mnt", 0));
    told("lazily", umount2("mnt", MNT_DETACH));
    told("the first", umount2("a/sub", 0));
}

static void attributes(void) {
    struct attributes asked = {.set = ATTR_RDONLY};
    int fd = (int)syscall(NR_OPEN_TREE, AT_FDCWD, "a", CLONE_TREE);
    told("read-only", syscall(NR_MOUNT_SETATTR, fd, "", AT_EMPTY_PATH, &asked, sizeof asked));
    told("put", syscall(NR_MOVE_MOUNT, fd, "", AT_FDCWD, "mnt", F_EMPTY));
    close(fd);
    told("write", open("mnt/file", O_WRONLY));
    asked = (struct attributes){.clear = ATTR_RDONLY, .set = ATTR_NOEXEC};
    told("writable", syscall(NR_MOUNT_SETATTR, AT_FDCWD, "mnt", 0, &asked, sizeof asked));
    fd = (int)told("write now", open("mnt/file", O_WRONLY));
    close(fd);
    told("too small", syscall(NR_MOUNT_SETATTR, AT_FDCWD, "mnt", 0, &asked, (size_t)8));
    told("too large", syscall(NR_MOUNT_SETATTR, AT_FDCWD, "mnt", 0, &asked, (size_t)8192));
    told("no mount", syscall(NR_MOUNT_SETATTR, AT_FDCWD, "a", 0, &asked, sizeof asked));
    asked = (struct attributes){.set = 1ull << 40};
    told("unknown", syscall(NR_MOUNT_SETATTR, AT_FDCWD, "mnt", 0, &asked, sizeof asked));
    asked = (struct attributes){.propagation = MS_PRIVATE};
    told("private", syscall(NR_MOUNT_SETATTR, AT_FDCWD, "mnt", 0, &asked, sizeof asked));
    told("taken away", umount2("mnt", 0));
}

static void contexts(void) {
    char message[256];
    told("unknown type", syscall(NR_FSOPEN, "nosuchtype", 0));
    told("unknown flag", syscall(NR_FSOPEN, "tmpfs", 2));
    int fs = (int)told("open", syscall(NR_FSOPEN, "tmpfs", 1));
    printf("cloexec: %d\n", fcntl(fs, F_GETFD));
    printf("nothing to read: %d\n", read(fs, message, sizeof message) < 0);
    told("too early", syscall(NR_FSMOUNT, fs, 0, 0));
    told("source", config(fs, SET_STRING, "source", "none", 0));
    told("second source", config(fs, SET_STRING, "source", "none", 0));
    ssize_t n = read(fs, message, sizeof message);
    printf("a message: %d\n", n > 2 && message[0] == 'e' && message[1] == ' ');
    told("without a value", config(fs, SET_STRING, "size", NULL, 0));
    told("without a key", config(fs, SET_FLAG, NULL, NULL, 0));
    told("unknown command", config(fs, 99, NULL, NULL, 0));
    told("bad descriptor", config(99, CREATE, NULL, NULL, 0));
    told("no context", config(1, CREATE, NULL, NULL, 0));
    told("make", config(fs, CREATE, NULL, NULL, 0));
    told("make again", config(fs, CREATE, NULL, NULL, 0));
    told("set too late", config(fs, SET_FLAG, "ro", NULL, 0));
    told("unknown attribute", syscall(NR_FSMOUNT, fs, 0, 1 << 30));
    int fd = (int)told("mount", syscall(NR_FSMOUNT, fs, 1, ATTR_NOEXEC));
    told("mount again", syscall(NR_FSMOUNT, fs, 0, 0));
    close(fs);
    list("empty", fd, ".");
    told("put", syscall(NR_MOVE_MOUNT, fd, "", AT_FDCWD, "mnt", F_EMPTY));
    close(fd);
    list("put there", AT_FDCWD, "mnt");
    told("pick a directory", syscall(NR_FSPICK, AT_FDCWD, "a", 0));
    told("pick with a flag", syscall(NR_FSPICK, AT_FDCWD, "mnt", 0x100));
    fs = (int)told("pick", syscall(NR_FSPICK, AT_FDCWD, "mnt", 1));
    told("make what is mounted", config(fs, CREATE, NULL, NULL, 0));
    told("set read-only", config(fs, SET_FLAG, "ro", NULL, 0));
    told("reconfigure", config(fs, RECONFIGURE, NULL, NULL, 0));
    told("write", open("mnt/file", O_WRONLY | O_CREAT, 0600));
    close(fs);
    told("taken away", umount2("mnt", 0));
}

int main(int argc, char **argv) {
    if (argc != 2 || chdir(argv[1]))
        return 2;
    trees();
    recursion();
    attributes();
    contexts();
    return 0;
}
