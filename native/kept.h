/* kept.h - files of FUSE servers that are opened for reading without the interpreter: what its two halves share.
 *
 * What is kept is in fusekept.c, what is opened again in fuseagain.c, and what is opened for the first time in fusefirst.c. */
#ifndef DIORAMA_KEPT_H
#define DIORAMA_KEPT_H

#include "told.h"

#include <errno.h>
#include <linux/fuse.h>

enum { KEPT_SLOTS = 1024, KEPT_LARGEST = 1 << 20, LIKELY = 16 };
enum { UNCACHED = FOPEN_DIRECT_IO | FOPEN_NONSEEKABLE | (1 << 4) /* FOPEN_STREAM */ };

/* What was opened here first, and Python does not know of yet: how it was found, from the inode `base` on. */
struct made {
    struct kept *older, *newer;
    uint64_t base, device, number;
    struct dio_told_node node;
    size_t length;
    char path[];
};

struct kept {
    struct kept *next, *next_watched;
    struct dio_kept what;
    struct made *made; /* NULL: Python knows of it */
    int fd /* of Python, which takes it back before it closes that; of what was made: ours */, watch /* -1: not watched */;
    unsigned users, count, due;
    struct dio_lent *lents; /* to who has not opened it yet */
    int is_gone, is_missed /* it was closed meanwhile */;
    struct handle handles[DIO_KEPT_HANDLES];
    char name[];
};

/* How many in Python have, or look at, a file: it is not opened here first meanwhile. */
struct claim {
    struct claim *next;
    const struct dio_told *told;
    uint64_t inode;
    unsigned count;
};

struct keeper {
    pthread_mutex_t lock; /* of all; taken before those of what was told */
    int inotify;          /* -1: nothing is kept */
    int divider, divides; /* a memfd, and the watch that tells of each change of it */
    int gives;            /* programs can be given what is opened first */
    struct kept *slots[KEPT_SLOTS], *watched[KEPT_SLOTS] /* by the number of the watch */;
    struct late *late;
    atomic_uint count;
    atomic_int likely, tried;
    struct claim *claims[KEPT_SLOTS];
    uint64_t claimed[KEPT_SLOTS]; /* how often something there was claimed */
    struct kept *oldest, *newest; /* what was made */
    atomic_uint made_count;
    uint64_t made_size;
    unsigned made_most;
};

/* All with the lock, but for the first. */
size_t keeper_slot(const struct dio_told *told, uint64_t inode);
struct kept **kept_at(struct keeper *keeper, const struct dio_told *told, uint64_t inode);
void kept_enter(struct keeper *keeper, struct kept *kept);
/* It is watched no longer here; its watch, which the caller ends or has from now on: -1 if it has none. */
int kept_unwatch(struct keeper *keeper, struct kept *kept);
/* It is kept no longer; as `kept_unwatch`. */
int kept_leave(struct keeper *keeper, struct kept **at);
void kept_unuse(struct kept *kept);
/* A new open file, by this handle, or with `lending`, which is filled, one that is lent; -1 if it must be opened by
 * Python. */
int kept_reopen(struct keeper *keeper, struct kept *kept, const struct handle *handle, uint32_t flags,
                struct dio_lent *lending);

/* Opens what is not kept: as `kept_open`. */
int first_open(struct dio_decider *decider, struct session *s, const struct kept_place *at, uint32_t flags,
               struct dio_lent **lent);
/* Python knows of it, or it is gone. */
void made_forget(struct keeper *keeper, struct kept *kept);
void first_init(struct keeper *keeper);
void first_free(struct keeper *keeper);

#endif
