/* tracee.h - a traced thread, the calls of it that a handler holds, and its room in shared memory. */
#ifndef DIORAMA_TRACEE_H
#define DIORAMA_TRACEE_H

#include "internal.h"

#include <pthread.h>

#ifndef PTRACE_GETSIGMASK
#define PTRACE_GETSIGMASK 0x420a
#define PTRACE_SETSIGMASK 0x420b
#endif

enum phase {
    HELD,       /* stopped; Python decides */
    IN_CALL,    /* what we put there runs; its exit stop is next */
    REWINDING,  /* on the way from the exit stop back to the entry stop, all signals blocked */
    INTERRUPTED /* the call gave ERESTART*: a signal handler may run, then it comes again, or is EINTR */
};

/* One call of the program from its first stop to its result.  Frames nest: a signal handler that runs
 * while a call is INTERRUPTED makes calls of its own, which may be held too. */
struct frame {
    struct frame *below;
    enum phase phase;
    struct dio_info call; /* as the program made it */
    struct dio_info at;   /* the stop where it is held */
    struct arch_regs saved;
    uint64_t mask;
    int64_t nr; /* what runs in its place */
    uint64_t args[6];
    int64_t rval;
    size_t arena_mark;
    struct dio_placement *exposed; /* to be told when the call is over */
    struct dio_lent *lent;         /* likewise */
    uint8_t see, changed, saved_regs, masked, set_result, execed;
    uint8_t arriving; /* promoted: on the way from the notification to the entry stop */
};

/* Arena slots of one address space: regions mapped by its threads, free for reuse once a thread ends.  All are
 * remembered: what is forgotten stays mapped for as long as the program runs. */
enum { ARENA_SLOT = 64 * 1024 };
struct space {
    pthread_mutex_t lock;
    int users;
    size_t free_count, free_room;
    uint64_t *free_slots;
};

struct tracee {
    struct tracee *next;
    pid_t tid;
    pid_t parent;
    uint64_t clone_flags;
    struct arch_regs *unclean; /* registers to put back in a newborn */
    uint32_t unclean_abi;
    struct frame *top;
    uint32_t depth;
    struct space *space;
    uint64_t arena; /* 0: none yet */
    size_t arena_used;
    uint8_t borrowed; /* a vforked child's arena is its parent's */
    struct dio_transit *transit; /* taken over, registers not yet restored */
    struct dio_info tail;        /* the last call that was let run without its exit stop */
    struct seat *seat; /* placement.c: NULL unless it was pinned once */
    struct cpus *own;  /* a newborn's mask of CPUs, to be set */
    uint64_t ending; /* the call that is to end (ending.c), 0 if none */
    uint64_t looked_at;
    uint32_t stops, hot;
    uint8_t tail_valid;
    uint8_t starting; /* between the filter and the first exec: our own calls */
    uint8_t awaited; /* its parent's event came before its first stop */
    uint8_t stopped_newborn, parent_known, listening, rejoin, deferred_stop;
    uint8_t begins; /* stopped at its exec, of which Python is to know first */
    uint8_t told; /* nothing is to be done with it but letting it go, once Python knows */
};

struct dio_transit {
    pid_t tid;
    uint64_t mask;
    struct arch_regs regs;
    struct space *space;
    uint64_t arena;
    uint8_t borrowed;
};

struct tracee *tracee_new(pid_t tid);
void tracee_free(struct tracee *t);
struct frame *frame_push(struct tracee *t, const struct dio_info *call);
void frame_conceal(struct frame *f);
void frame_pop(struct tracee *t);
void tracee_leave_space(struct tracee *t);

struct space *space_new(void);
struct space *space_share(struct space *space);
struct space *space_copy(struct space *space);
void space_drop(struct space *space, uint64_t slot);
uint64_t space_take(struct space *space);

int signals_block(pid_t tid, uint64_t *mask);
int signals_restore(pid_t tid, uint64_t mask);

#endif
