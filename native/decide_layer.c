/* decide_layer.c - what a layer over the root has left as it is.
 *
 * A change shows in the tree of the layer on disk before the call that made it returns: what was copied up or is new
 * stands there, what was removed has a whiteout, and a directory that hides all below it is marked opaque.  So a
 * place is as it is below if one openat2(2) in the layer finds nothing, having passed real directories only (ENOENT;
 * a file or a whiteout in the way is ENOTDIR, a link is ELOOP), and none of those directories is opaque. */
#include "decide.h"

#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

static const char OPAQUE[] = "user.overlay.opaque";

/* Puts the path of a place in the layer into `text`; -1 if it is too long. */
static int layer_text(const struct mounted *m, const char *path, size_t length, char text[PATH_MAX]) {
    if (m->upper_length + length >= PATH_MAX)
        return -1;
    memcpy(text, m->upper, m->upper_length);
    memcpy(text + m->upper_length, path, length);
    text[m->upper_length + length] = 0;
    return 0;
}

static int is_missing(const char *text) {
    struct kernel_open_how how = {.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC, .resolve = KERNEL_NO_SYMLINKS};
    int fd = (int)syscall(KERNEL_OPENAT2, AT_FDCWD, text, &how, sizeof how);
    if (fd < 0)
        return errno == ENOENT;
    close(fd);
    return 0;
}

/* Whether a directory above a missing place hides what is below it.  `text + from` is the path in the layer. */
static int is_hidden(char *text, size_t from) {
    char value[8];
    for (char *slash = text + from; (slash = strchr(slash + 1, '/')) != NULL;) {
        *slash = 0;
        ssize_t n = lgetxattr(text, OPAQUE, value, sizeof value);
        int error = errno;
        *slash = '/';
        if (n < 0 && error == ENOENT)
            return 0; /* nor is there anything further down */
        if (n >= 0 || (error != ENODATA && error != EOPNOTSUPP))
            return 1;
    }
    return 0;
}

int layer_left(const struct mounted *m, const char *path, size_t length) {
    char text[PATH_MAX];
    if (!m->upper)
        return 1;
    return length && !layer_text(m, path, length, text) && is_missing(text) && !is_hidden(text, m->upper_length);
}

int layer_left_names(const struct mounted *m, const char *path, size_t length) {
    const char *slash = m->hidden ? strrchr(m->hidden, '/') : NULL;
    if (slash && (size_t)(slash - m->hidden) == length && !memcmp(path, m->hidden, length))
        return 0;
    return layer_left(m, path, length);
}

/* `path` is below the mount's own host path. */
int layer_has(const struct mounted *m, const char *path) {
    return (m->upper && is_below(path, m->upper, m->upper_length)) ||
           (m->hidden && is_below(path + m->host_length, m->hidden, m->hidden_length));
}
