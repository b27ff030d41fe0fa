/* deciding.h - one call being decided, for the files that do so. */
#ifndef DIORAMA_DECIDING_H
#define DIORAMA_DECIDING_H

#include "decide.h"

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

/* A child is made. */
enum part clone_decide(const struct deciding *d);
/* A handler of a signal is installed or asked for. */
enum part signal_decide(const struct deciding *d);

#endif
