/* fuseagain.c - a file of a FUSE server is opened for reading again, if it is kept and still what it was.
 *
 * The server has opened it then, and what it reads is compared with what is kept, unless it says that this still holds. */
#include "kept.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { UNLIKELY = 3, TRIES = 16, READABLE = 0444 };

int kept_is_likely(struct dio_decider *decider, struct dio_told *told) {
    struct keeper *keeper = decider->keeper;
    if (!atomic_load(&keeper->count) && !atomic_load(&told_server(told)->opens))
        return 0;
    return atomic_load(&keeper->likely) > 0 || atomic_fetch_add(&keeper->tried, 1) % TRIES == 0;
}

static int may_be_read(const struct dio_decider *decider, const struct session *s, const struct dio_told_node *node) {
    if (node->unchecked || (node->mode & READABLE) == READABLE)
        return 1;
    return node->mode & S_IRUSR && !decider->rights.privileged && node->uid == geteuid() &&
           rights_equal((struct dio_decider *)decider, s->asked->tid);
}

/* What is kept of a file that is as it was, which is in use until it is put back. */
static struct kept *kept_find(struct keeper *keeper, const struct kept_place *at) {
    pthread_mutex_lock(&keeper->lock);
    struct kept *kept = *kept_at(keeper, at->told, at->node->inode);
    const struct dio_kept *what = kept ? &kept->what : NULL;
    if (kept && (what->mount != at->mount || what->directory != at->directory || what->length != at->length ||
                 memcmp(what->name, at->name, at->length) || what->size != at->node->size ||
                 what->modified != at->node->modified || what->moved != dio_told_moved(at->told) ||
                 kept->count == DIO_KEPT_HANDLES))
        kept = NULL;
    if (kept)
        kept->users++;
    pthread_mutex_unlock(&keeper->lock);
    return kept;
}

static void likely_note(struct keeper *keeper, int is_done) {
    int likely = atomic_load(&keeper->likely);
    int next = is_done ? likely + 1 : likely - UNLIKELY;
    atomic_store(&keeper->likely, next > LIKELY ? LIKELY : next < 0 ? 0 : next);
}

/* Whether the server gives the content that is kept.  If it is taken back meanwhile that says nothing, which is seen when
 * it is opened. */
static int content_is(struct session *s, uint64_t node, const struct kept *kept, const struct handle *handle) {
    uint32_t most = kept->what.most;
    struct stat status;
    if (fstat(kept->fd, &status) || (uint64_t)status.st_size != kept->what.size)
        return 0;
    char *answer = kept->what.size ? malloc(READ_HEAD + 2 * (size_t)most) : NULL;
    char *expected = answer ? answer + READ_HEAD + most : NULL;
    ssize_t n = answer ? (ssize_t)most : 0;
    int is_same = answer || !kept->what.size;
    uint64_t offset = 0;
    while (is_same && n == (ssize_t)most) {
        n = session_read(s, node, handle, offset, most, answer);
        is_same = n >= 0 && pread(kept->fd, expected, (size_t)n, (off_t)offset) == n &&
                  !memcmp(answer + READ_HEAD, expected, (size_t)n);
        offset += n > 0 ? (uint64_t)n : 0;
    }
    free(answer);
    return is_same && offset == kept->what.size;
}

static int again_open(struct dio_decider *decider, struct kept *kept, struct session *s, const struct kept_place *at,
                      uint32_t flags, struct dio_lent **lent) {
    struct keeper *keeper = decider->keeper;
    struct handle handle;
    uint64_t node = dio_told_number(at->told, at->node->inode);
    struct dio_lent *lending = lent ? calloc(1, sizeof *lending) : NULL;
    int result = session_open(s, node, flags & ~(uint32_t)(O_NOCTTY | O_CLOEXEC), &handle), fd = -1;
    int is_same = result > 0 && !(handle.how & UNCACHED) &&
                  (handle.how & FOPEN_KEEP_CACHE || content_is(s, node, kept, &handle));
    pthread_mutex_lock(&keeper->lock);
    if (is_same && !lent == !lending)
        fd = kept_reopen(keeper, kept, &handle, flags, lending);
    kept_unuse(kept);
    pthread_mutex_unlock(&keeper->lock);
    if (fd >= 0 && lent)
        *lent = lending;
    if (fd >= 0)
        return fd;
    free(lending);
    if (result > 0)
        server_give(at->told, node, &handle);
    return result < 0 && result != -ENOSYS ? result : KEPT_ASK;
}

int kept_open(struct dio_decider *decider, struct session *s, const struct kept_place *at, uint32_t flags,
              struct dio_lent **lent) {
    int result = KEPT_ASK;
    if (lent && !rights_equal(decider, s->asked->tid))
        return KEPT_ASK; /* ours it may not open */
    if (at->node->links != 1 || at->node->size > KEPT_LARGEST || told_differs(at->told, at->node->inode) ||
        !may_be_read(decider, s, at->node))
        return KEPT_ASK;
    struct kept *kept = kept_find(decider->keeper, at);
    if (kept)
        result = again_open(decider, kept, s, at, flags, lent);
    else
        result = first_open(decider, s, at, flags, lent);
    likely_note(decider->keeper, kept || result != KEPT_ASK);
    return result;
}
