/* deciding.h - one call being decided, for the files that do so. */
#ifndef DIORAMA_DECIDING_H
#define DIORAMA_DECIDING_H

#include "decide.h"

#include <unistd.h>

/* One call being decided. */
struct deciding {
    struct dio_decider *decider;
    const struct table *table;
    const struct dio_decision *decision;
    const struct dio_asked *asked;
    struct dio_verdict *out;
    struct dio_process process;
};

/* What one part of a call says: it is harmless, or a walk must tell. */
enum part { PART_RUN, PART_ASK, PART_WALK };

static inline uint64_t arg_of(const struct dio_asked *asked, uint8_t arg) { return arg < 6 ? asked->args[arg] : 0; }

static inline const struct mounted *base_of(const struct deciding *d) { return &d->table->mounts[d->table->base]; }

/* The text of a link in /proc; its length, 0 if that is not to be had. */
static inline size_t link_read(const char *name, char text[PLACE_ROOM]) {
    ssize_t n = readlink(name, text, PLACE_ROOM);
    if (n <= 0 || n == PLACE_ROOM)
        return 0;
    text[n] = 0;
    return (size_t)n;
}

/* Whether what the process may do in mounts that remember who owns what is for Python to say. */
int owner_is_checked(const struct deciding *d);
/* Whether the owner of any file of the host is told in another way than the kernel does. */
int owner_is_shown(const struct deciding *d);
/* Whether who owns an open file, or what is in a directory, matters to the call. */
int owner_matters(const struct deciding *d);
/* What is asked of an open file, by its link in /proc, that may be in a mount that remembers. */
enum part owner_decide(const struct deciding *d, const char *name, const struct stat *status);

/* A message is sent or received. */
enum part bare_decide(const struct deciding *d);

/* A child is made. */
enum part clone_decide(const struct deciding *d);
/* A handler of a signal is installed or asked for. */
enum part signal_decide(const struct deciding *d);

#endif
