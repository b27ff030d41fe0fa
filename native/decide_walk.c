/* decide_walk.c - path resolution in the view, as `diorama.view.resolve` does it, for host mounts.
 *
 * Nearly all paths have no symbolic link in them, and then what is mounted on the way follows from the text
 * alone.  So a walk *leaps*: it compares the text with the mounts, name by name, and lets one openat2(2) with
 * RESOLVE_NO_SYMLINKS prove that there was no link.  Every result but ELOOP is a proof: success, or an error
 * that ended the way before it came to one.  A leap ends where the text meets a mount (or leaves one by `..`,
 * or comes to a process in /proc); the part before that is proven to be a directory, and the next leap begins.
 * After ELOOP the walk *crawls* by one readlink(2) a name until it has followed a link, and leaps again.
 *
 * What is mounted on `/` is where absolute paths begin.  The kernel, walking the same path, ends at the same place
 * (`touched` is 0) if that is the host's root with a layer over it, and from a directory in it also if it is another.
 * Of a layer, whatever a walk comes by must have been left as it is below, or Python is asked.
 *
 * A process's directory in /proc is never walked, because its links lead to objects whatever their text is,
 * and `self` would be ours: either no name in the rest can be such a link, or Python is asked. */
#include "decide.h"

#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAX_LINKS = 40 };

enum stop { STOP_END, STOP_MOUNT, STOP_UP, STOP_PROC, STOP_ASK };

/* How far the text alone leads. */
struct scan {
    enum stop stop;
    const char *name, *after; /* the component at which it stopped, in `todo` */
    int32_t top;              /* MOUNT: what is entered there */
    int names, ups, dots;     /* how many there are before, and how many were `..` and `.` */
    size_t before, length;    /* of `place`, before and with that component */
    char place[PLACE_ROOM];
};

enum next { NEXT_LEAP, NEXT_CRAWL, NEXT_END };

static const struct mounted *walk_mount(const struct walk *w) { return &w->table->mounts[w->mount]; }

/* ---- components ---- */

size_t name_next(const char **at, const char **name) {
    const char *p = *at;
    while (*p == '/')
        p++;
    *name = p;
    while (*p && *p != '/')
        p++;
    *at = p;
    return (size_t)(p - *name);
}

static int name_is(const char *name, size_t length, const char *word) {
    return strlen(word) == length && !memcmp(name, word, length);
}

static int is_among(const char *name, size_t length, const char *const words[], size_t count) {
    for (size_t i = 0; i < count; i++)
        if (name_is(name, length, words[i]))
            return 1;
    return 0;
}

/* Whether a path in a process's directory may lead through a link that is not text, or out of it, or to a file
 * whose content is that of the view (`diorama.dispatch.files.generated`). */
static int has_magic(const struct table *t, const char *text) {
    static const char *const words[] = {"fd",     "cwd",       "root",       "exe",  "map_files", "..",
                                        "mounts", "mountinfo", "mountstats", "maps", "smaps",     "numa_maps",
                                        "fdinfo", "net",       "uts"};
    /* Where identities count also what is for some only (`diorama.view.inspection`). */
    static const char *const inspected[] = {"status",    "auxv",            "clear_refs", "comm",          "environ", "io",
                                            "mem",       "coredump_filter", "oom_adj",    "oom_score_adj", "pagemap", "ns",
                                            "personality", "smaps_rollup",  "stack",      "syscall",       "timers"};
    const char *name;
    int status = !!(t->flags & DIO_DECIDE_STATUS);
    for (size_t length; (length = name_next(&text, &name));)
        if (is_among(name, length, words, sizeof words / sizeof *words) ||
            (status && is_among(name, length, inspected, sizeof inspected / sizeof *inspected)))
            return 1;
    return 0;
}

/* What stands after "/proc/" in the host path of a place; NULL if that is not below /proc. */
static const char *proc_rest(const struct mounted *m, const char *path) {
    if (!m->host_length)
        return strncmp(path, "/proc/", 6) ? NULL : path + 6;
    if (!strncmp(m->host, "/proc/", 6))
        return m->host + 6;
    return strcmp(m->host, "/proc") || *path != '/' ? NULL : path + 1;
}

static int is_process(const struct mounted *m, const char *path) {
    const char *rest = proc_rest(m, path), *name = NULL;
    if (!rest)
        return 0;
    size_t length = name_next(&rest, &name);
    return (*name >= '0' && *name <= '9') || name_is(name, length, "self") || name_is(name, length, "thread-self");
}

int walk_in_proc(const struct walk *w) {
    const struct mounted *m = walk_mount(w);
    return proc_rest(m, w->path) || (!m->host_length && !strcmp(w->path, "/proc")) ||
           (!w->length && !strcmp(m->host, "/proc"));
}

/* ---- moving ---- */

static enum next end_with(enum walk_end *end, enum walk_end how) {
    *end = how;
    return NEXT_END;
}

static enum next fail_with(struct walk *w, enum walk_end *end, int error) {
    w->error = error;
    return end_with(end, WALK_FAILED);
}

static enum next walk_enter(struct walk *w, int32_t mount, enum walk_end *end) {
    w->mount = mount;
    w->length = 0;
    w->path[0] = 0;
    w->touched = 1;
    w->directory = walk_mount(w)->directory;
    if (!walk_mount(w)->synthetic)
        return NEXT_LEAP;
    w->inode = walk_mount(w)->inode;
    return end_with(end, walk_mount(w)->told ? WALK_TOLD : WALK_ASK);
}

/* Who is at the root stays there; the kernel goes up from another root than its own. */
static enum next walk_up(struct walk *w, enum walk_end *end) {
    if (!w->length && w->mount == w->table->base) {
        w->touched = (uint8_t)(w->touched || w->table->base_moved);
        w->directory = 1;
        return NEXT_LEAP;
    }
    while (!w->length && w->mount && w->mount != w->table->base) {
        const struct mounted *m = walk_mount(w);
        memcpy(w->path, m->point, m->point_length + 1);
        w->length = m->point_length;
        w->mount = m->parent;
    }
    while (w->length && w->path[--w->length] != '/')
        continue;
    w->path[w->length] = 0;
    w->directory = 1;
    int32_t top =
        table_cover(w->table, w->mount, w->path, w->length, hash_add(HASH_START, w->path, w->length));
    if (top == COVER_PRIVATE)
        return end_with(end, WALK_ASK);
    if (top >= 0)
        return walk_enter(w, top, end);
    return walk_mount(w)->synthetic ? end_with(end, WALK_ASK) : NEXT_LEAP;
}

static enum next walk_process(const struct walk *w, const char *place, const char *rest, enum walk_end *end) {
    const char *inside = proc_rest(walk_mount(w), place);
    if (w->table->proc_mounts || (inside && has_magic(w->table, inside)) || has_magic(w->table, rest))
        return end_with(end, WALK_ASK);
    return end_with(end, WALK_PROC);
}

/* ---- leaping ---- */

/* Adds a name to the scanned place, and says what is there. */
static enum stop scan_add(const struct walk *w, struct scan *s, size_t name_length, uint64_t *hash) {
    if (s->length + name_length + 2 > PLACE_ROOM)
        return STOP_ASK;
    s->before = s->length;
    s->place[s->length] = '/';
    memcpy(s->place + s->length + 1, s->name, name_length);
    *hash = hash_add(*hash, s->place + s->length, name_length + 1);
    s->length += name_length + 1;
    s->place[s->length] = 0;
    s->top = table_cover(w->table, w->mount, s->place, s->length, *hash);
    if (s->top != COVER_NONE)
        return s->top == COVER_PRIVATE ? STOP_ASK : STOP_MOUNT;
    return is_process(walk_mount(w), s->place) ? STOP_PROC : STOP_END;
}

/* Goes up within the mount; STOP_UP if that leads out of it, or below another. */
static enum stop scan_up(const struct walk *w, struct scan *s, uint64_t *hash) {
    s->before = s->length;
    if (!s->length)
        return w->mount == w->table->base && !w->table->base_moved ? STOP_END : STOP_UP;
    s->ups++;
    size_t length = s->length;
    while (s->place[--length] != '/')
        continue;
    *hash = hash_add(HASH_START, s->place, length);
    if (table_cover(w->table, w->mount, s->place, length, *hash) != COVER_NONE)
        return STOP_UP;
    s->length = length;
    return STOP_END;
}

static void scan_run(const struct walk *w, struct scan *s) {
    uint64_t hash = hash_add(HASH_START, w->path, w->length);
    memcpy(s->place, w->path, w->length + 1);
    s->length = s->before = w->length;
    s->after = w->todo + w->at;
    s->stop = STOP_END;
    s->top = COVER_NONE;
    s->ups = s->dots = 0;
    for (s->names = 0;; s->names++) {
        size_t length = name_next(&s->after, &s->name);
        if (!length)
            return;
        if (name_is(s->name, length, ".")) {
            s->dots++;
            continue;
        }
        s->stop = name_is(s->name, length, "..") ? scan_up(w, s, &hash) : scan_add(w, s, length, &hash);
        if (s->stop != STOP_END)
            return;
    }
}

static int text_add(char *out, size_t *used, const char *text, size_t length) {
    if (*used + length >= PATH_MAX)
        return -ENAMETOOLONG;
    memcpy(out + *used, text, length);
    *used += length;
    out[*used] = 0;
    return 0;
}

int walk_text(const struct walk *w, char out[PATH_MAX]) {
    const struct mounted *m = walk_mount(w);
    size_t used = 0;
    if (text_add(out, &used, m->host, m->host_length) || text_add(out, &used, w->path, w->length))
        return -ENAMETOOLONG;
    return used ? 0 : text_add(out, &used, "/", 1);
}

/* openat2(2): by what the kernel has in its caches, else not without having stepped aside. */
static int open_known(const struct walk *w, const char *text, struct kernel_open_how *how) {
    if (!w->no_cached) {
        how->resolve |= KERNEL_CACHED;
        int fd = (int)syscall(KERNEL_OPENAT2, AT_FDCWD, text, how, sizeof *how);
        if (fd >= 0 || errno != EAGAIN)
            return fd < 0 ? -errno : fd;
        how->resolve &= ~(uint64_t)KERNEL_CACHED;
    }
    if (may_wait(w->asked))
        return -EBUSY;
    int fd = (int)syscall(KERNEL_OPENAT2, AT_FDCWD, text, how, sizeof *how);
    return fd < 0 ? -errno : fd;
}

/* Opens the place and what is to be walked up to `stop`, without following a link: a descriptor or -errno. */
static int walk_prove(const struct walk *w, const char *stop, uint64_t flags) {
    struct kernel_open_how how = {.flags = O_PATH | O_CLOEXEC | flags, .resolve = KERNEL_NO_SYMLINKS};
    const char *from = w->todo + w->at;
    const struct mounted *m = walk_mount(w);
    char text[PATH_MAX];
    size_t used = 0;
    /* A longer one is none of the program's making: it is fine from where the program stands. */
    if (text_add(text, &used, m->host, m->host_length) || text_add(text, &used, w->path, w->length) ||
        (((from < stop && *from != '/') || !used) && text_add(text, &used, "/", 1)) ||
        text_add(text, &used, from, (size_t)(stop - from)))
        return -EAGAIN;
    return open_known(w, text, &how);
}

/* What cannot be reached; `path` is what of the way must have been left as it is by a layer for that to be so. */
static enum next walk_refused(struct walk *w, int error, const char *path, size_t length, enum walk_end *end) {
    const struct mounted *m = walk_mount(w);
    if (error == ELOOP)
        return NEXT_CRAWL;
    if (m->upper && (error != ENOENT || !layer_left(m, path, length)))
        return end_with(end, WALK_ASK);
    if (error == ENOENT || error == ENOTDIR || error == ENAMETOOLONG)
        return fail_with(w, end, error);
    return end_with(end, WALK_ASK);
}

/* The walk stands at the end of what has been proven. */
static void walk_land(struct walk *w, const struct scan *s, size_t length, const char *at) {
    memcpy(w->path, s->place, length);
    w->path[length] = 0;
    w->length = length;
    w->at = (size_t)(at - w->todo);
}

/* Whether what a leap has proven is what a layer has left as it is; in its root there is always a place to stop. */
static int walk_left(const struct walk *w, const struct scan *s) {
    size_t length = s->stop == STOP_END ? s->length : s->before;
    return (!length && s->stop != STOP_END) || layer_left(walk_mount(w), s->place, length);
}

/* Whether everybody may search the directories of a way in a mount that remembers owners, those of a leap: from where
 * the walk stands to the one before the last name. */
static int leap_is_free(const struct walk *w, const struct scan *s) {
    const struct mounted *m = walk_mount(w);
    char text[PATH_MAX];
    size_t used = 0;
    if (!w->checked || !m->owned)
        return 1;
    if (s->ups || s->dots || text_add(text, &used, m->host, m->host_length) || text_add(text, &used, s->place, s->length))
        return 0;
    for (size_t at = w->length; at <= s->before; at++) {
        if (at != w->length && s->place[at] != '/')
            continue;
        text[used = m->host_length + at] = 0;
        if (!owned_lets_all(m, used ? text : "/", 1))
            return 0;
        memcpy(text + m->host_length, s->place, s->length + 1);
    }
    return 1;
}

/* The same of the directory that a crawl looks for a name in. */
static int crawl_is_free(const struct walk *w, size_t before) {
    const struct mounted *m = walk_mount(w);
    char text[PATH_MAX];
    size_t used = 0;
    if (!w->checked || !m->owned)
        return 1;
    if (text_add(text, &used, m->host, m->host_length) || text_add(text, &used, w->path, before))
        return 0;
    return owned_lets_all(m, used ? text : "/", 1);
}

static enum next walk_leap(struct walk *w, enum walk_end *end) {
    struct scan s;
    scan_run(w, &s);
    if (s.stop == STOP_ASK || (s.names + (s.stop != STOP_END) && !leap_is_free(w, &s)))
        return end_with(end, WALK_ASK);
    if (w->no_openat2 || (s.ups && walk_mount(w)->upper))
        return NEXT_CRAWL;
    if (s.stop == STOP_END || s.names || !w->directory) {
        uint64_t flags = s.stop != STOP_END ? O_DIRECTORY : w->follow ? 0 : O_NOFOLLOW;
        int fd = walk_prove(w, s.stop == STOP_END ? s.after : s.name, flags);
        if (fd < 0)
            return walk_refused(w, -fd, s.place, s.stop == STOP_END ? s.length : s.before, end);
        if (!walk_left(w, &s)) {
            close(fd);
            return end_with(end, WALK_ASK);
        }
        if (s.stop == STOP_END) {
            w->fd = fd;
            walk_land(w, &s, s.length, s.after);
            return end_with(end, WALK_FOUND);
        }
        close(fd);
    }
    if (s.stop == STOP_PROC)
        return walk_process(w, s.place, s.after, end);
    walk_land(w, &s, s.before, s.after);
    return s.stop == STOP_MOUNT ? walk_enter(w, s.top, end) : walk_up(w, end);
}

/* ---- crawling ---- */

/* NEXT_CRAWL if the place is a directory.  That is asked where no readlink of what comes next will tell. */
static enum next crawl_directory(struct walk *w, enum walk_end *end) {
    char text[PATH_MAX];
    struct stat status;
    if (w->directory)
        return NEXT_CRAWL;
    if (walk_text(w, text) || lstat(text, &status))
        return end_with(end, WALK_ASK);
    if (!S_ISDIR(status.st_mode))
        return fail_with(w, end, ENOTDIR);
    w->directory = 1;
    return NEXT_CRAWL;
}

/* Puts the target of a link before what is still to be walked.  `before`: the length of its directory. */
static enum next crawl_follow(struct walk *w, size_t before, const char *target, size_t length, enum walk_end *end) {
    size_t rest = strlen(w->todo + w->at) + 1;
    if (++w->links > MAX_LINKS)
        return fail_with(w, end, ELOOP);
    if (!length)
        return fail_with(w, end, ENOENT);
    if (length + rest > TODO_ROOM)
        return end_with(end, WALK_ASK);
    memmove(w->todo + length, w->todo + w->at, rest);
    memcpy(w->todo, target, length);
    w->at = 0;
    w->directory = 1;
    w->length = before;
    w->path[w->length] = 0;
    if (*target == '/') {
        w->touched = (uint8_t)(w->touched || w->table->base_moved);
        walk_begin(w);
    }
    return walk_mount(w)->synthetic ? end_with(end, WALK_ASK) : NEXT_LEAP;
}

/* What is at the place that a name has just led to.  NEXT_CRAWL: no link, or one that is not followed. */
static enum next crawl_look(struct walk *w, size_t before, enum walk_end *end) {
    char text[PATH_MAX], target[PATH_MAX];
    if (walk_text(w, text) || !layer_left(walk_mount(w), w->path, w->length))
        return end_with(end, WALK_ASK);
    ssize_t n = readlink(text, target, sizeof target);
    if (n < 0 && errno != EINVAL)
        return errno == ELOOP ? end_with(end, WALK_ASK) : walk_refused(w, errno, w->path, w->length, end);
    w->directory = 0;
    /* With a slash behind it, a last link is followed too. */
    if (n < 0 || (!w->todo[w->at] && !w->follow))
        return NEXT_CRAWL;
    if ((size_t)n == sizeof target)
        return end_with(end, WALK_ASK);
    return crawl_follow(w, before, target, (size_t)n, end);
}

static enum next crawl_name(struct walk *w, const char *name, size_t length, enum walk_end *end) {
    size_t before = w->length;
    if (before + length + 2 > PLACE_ROOM || !crawl_is_free(w, before))
        return end_with(end, WALK_ASK);
    w->path[before] = '/';
    memcpy(w->path + before + 1, name, length);
    w->length += length + 1;
    w->path[w->length] = 0;
    int32_t top = table_cover(w->table, w->mount, w->path, w->length, hash_add(HASH_START, w->path, w->length));
    if (top == COVER_PRIVATE)
        return end_with(end, WALK_ASK);
    if (top >= 0) {
        w->length = before;
        w->path[before] = 0;
        enum next next = crawl_directory(w, end);
        return next == NEXT_CRAWL ? walk_enter(w, top, end) : next;
    }
    if (is_process(walk_mount(w), w->path))
        return walk_process(w, w->path, w->todo + w->at, end);
    return crawl_look(w, before, end);
}

static enum next walk_crawl(struct walk *w, enum walk_end *end) {
    enum next next = may_wait(w->asked) ? end_with(end, WALK_ASK) : NEXT_CRAWL;
    while (next == NEXT_CRAWL) {
        const char *name, *after = w->todo + w->at;
        size_t length = name_next(&after, &name);
        if (!length)
            return end_with(end, WALK_FOUND);
        w->at = (size_t)(after - w->todo);
        if (!name_is(name, length, ".") && !name_is(name, length, "..")) {
            next = crawl_name(w, name, length, end);
            continue;
        }
        next = crawl_is_free(w, w->length) ? crawl_directory(w, end) : end_with(end, WALK_ASK);
        if (next == NEXT_CRAWL && length == 2)
            next = walk_up(w, end);
    }
    return next;
}

/* ---- the whole way ---- */

void walk_begin(struct walk *w) {
    w->mount = w->table->base;
    w->length = 0;
    w->path[0] = 0;
    w->directory = 1;
}

enum walk_end walk_run(struct walk *w) {
    enum walk_end end = WALK_ASK;
    enum next next = NEXT_LEAP;
    w->fd = -1;
    w->error = 0;
    w->links = 0;
    while (next != NEXT_END) {
        if (is_process(walk_mount(w), w->path))
            next = walk_process(w, w->path, w->todo + w->at, &end);
        else
            next = next == NEXT_LEAP ? walk_leap(w, &end) : walk_crawl(w, &end);
    }
    return end;
}

int walk_open(struct walk *w) {
    char text[PATH_MAX];
    size_t length = strlen(w->todo), used;
    if (w->fd >= 0)
        return 0;
    if (walk_text(w, text))
        return -ENAMETOOLONG;
    used = strlen(text);
    if (length && w->todo[length - 1] == '/' && used > 1 && text_add(text, &used, "/", 1))
        return -ENAMETOOLONG;
    w->fd = open(text, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    return w->fd < 0 ? -errno : 0;
}
