/* decide_exec.c - whether Python must see to the execution of what a path leads to.
 *
 * The kernel finds the interpreter of a script, and the loader of a binary, on the host.  A script is always asked
 * about; a binary where the way to its loader meets a mount.  Everything else the kernel executes as it is. */
#include "decide.h"

#include <elf.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { HEAD = 4096 };

/* The program headers of both classes begin alike, and differ in where they have what. */
struct loader {
    uint64_t offset, size;
};

static int loader_of_32(const unsigned char *head, size_t size, struct loader *out) {
    Elf32_Ehdr file;
    Elf32_Phdr header;
    memcpy(&file, head, sizeof file);
    if (file.e_phentsize != sizeof header)
        return 0;
    for (size_t i = 0; i < file.e_phnum; i++) {
        size_t at = file.e_phoff + i * sizeof header;
        if (at + sizeof header > size)
            return -1;
        memcpy(&header, head + at, sizeof header);
        if (header.p_type == PT_INTERP) {
            *out = (struct loader){header.p_offset, header.p_filesz};
            return 1;
        }
    }
    return 0;
}

static int loader_of_64(const unsigned char *head, size_t size, struct loader *out) {
    Elf64_Ehdr file;
    Elf64_Phdr header;
    memcpy(&file, head, sizeof file);
    if (file.e_phentsize != sizeof header || file.e_phoff > HEAD)
        return file.e_phentsize != sizeof header ? 0 : -1;
    for (size_t i = 0; i < file.e_phnum; i++) {
        size_t at = file.e_phoff + i * sizeof header;
        if (at + sizeof header > size)
            return -1;
        memcpy(&header, head + at, sizeof header);
        if (header.p_type == PT_INTERP) {
            *out = (struct loader){header.p_offset, header.p_filesz};
            return 1;
        }
    }
    return 0;
}

/* Puts the path of the loader into `path`: 1 if there is one, 0 if there is none, -1 if that cannot be told. */
static int loader_read(int fd, char path[PATH_MAX]) {
    unsigned char head[HEAD];
    struct loader found;
    ssize_t n = pread(fd, head, sizeof head, 0);
    if (n < 0 || (n >= 2 && head[0] == '#' && head[1] == '!'))
        return -1;
    if (n < (ssize_t)sizeof(Elf64_Ehdr) || memcmp(head, ELFMAG, SELFMAG))
        return 0;
    int known = head[EI_CLASS] == ELFCLASS64   ? loader_of_64(head, (size_t)n, &found)
                : head[EI_CLASS] == ELFCLASS32 ? loader_of_32(head, (size_t)n, &found)
                                               : 0;
    if (known <= 0)
        return known;
    if (found.size < 2 || found.size > PATH_MAX)
        return 0; /* the kernel refuses it */
    n = pread(fd, path, (size_t)found.size, (off_t)found.offset);
    return n == (ssize_t)found.size && !path[n - 1] ? 1 : n < 0 ? -1 : 0;
}

/* 1 if it leads to a mount, or may. */
static int loader_meets_mount(const struct walk *program, const char *path) {
    struct walk w;
    if (*path != '/')
        return 1;
    memset(&w, 0, offsetof(struct walk, path));
    w.table = program->table;
    w.asked = program->asked;
    w.no_openat2 = program->no_openat2;
    w.no_cached = program->no_cached;
    w.follow = 1;
    w.fd = -1;
    w.touched = w.table->base_moved;
    walk_begin(&w);
    if (w.table->mounts[w.mount].synthetic)
        return 1;
    strcpy(w.todo, path);
    enum walk_end end = walk_run(&w);
    if (w.fd >= 0)
        close(w.fd);
    return end == WALK_ASK || w.touched;
}

int decide_exec(struct walk *w) {
    char text[PATH_MAX], path[PATH_MAX];
    struct stat status;
    if (walk_open(w) || identity_read(w->fd, "", &status) || may_wait_for(w->asked, status.st_dev))
        return 1;
    if (!S_ISREG(status.st_mode))
        return 0;
    if (walk_text(w, text))
        return 1;
    int fd = open(text, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
    if (fd < 0)
        return 1;
    int found = loader_read(fd, path);
    close(fd);
    return found < 0 || (found && loader_meets_mount(w, path));
}
