/* guardian.h - a tracer thread's handle, shared by the files that implement it. */
#ifndef DIORAMA_GUARDIAN_H
#define DIORAMA_GUARDIAN_H

#include "tracee.h"

enum { BUCKETS = 64 };

struct dio_guardian {
    pid_t owner; /* ptrace belongs to this thread */
    pthread_t thread; /* the same, known without a system call */
    struct dio_options options;
    const struct dio_rules *rules;
    struct dio_listener *listener; /* of a promoted thread */
    struct tracee *buckets[BUCKETS];
    size_t tracees;
    struct dio_event *queue; /* events that Python has not seen */
    size_t queue_head, queue_count, queue_room;
    pid_t stash_tid; /* a death met while waiting for something else */
    int stash_status, stashed;
    pid_t last_dead;
    uint8_t beginning; /* somebody has executed a program, which is to begin */
    uint8_t bereaved; /* promoted: a tracee has died, and children of it may have yet to show up */
};

/* tracees.  find and add are by tid; drop frees. */
struct tracee *guardian_find(struct dio_guardian *g, pid_t tid);
struct tracee *guardian_add(struct dio_guardian *g, pid_t tid);
void guardian_unlink(struct dio_guardian *g, struct tracee *t);
struct dio_event *guardian_emit(struct dio_guardian *g, uint32_t kind, pid_t tid);
void guardian_resume(struct dio_guardian *g, struct tracee *t, int sig);
void guardian_gone(struct dio_guardian *g, struct tracee *t, int status);
int guardian_wait(struct dio_guardian *g);
/* Wait for the first stop of a newborn, which needs nobody: its guardian is appointed before its parent is asked about. */
void guardian_await(struct dio_guardian *g, pid_t tid);

/* calls.c: the four actions over the frames of one tracee */
int call_answer(struct dio_guardian *g, const struct dio_answer *answer);
void call_seccomp_stop(struct dio_guardian *g, struct tracee *t);
void call_syscall_stop(struct dio_guardian *g, struct tracee *t);
void call_interrupted(struct dio_guardian *g, struct tracee *t);

/* handover.c: new tracees */
void newborn_ready(struct dio_guardian *g, struct tracee *child);
void newborn_restore(struct tracee *t);
void clone_event(struct dio_guardian *g, struct tracee *t);

/* promote.c */
void promoted_stopped(struct tracee *t);
void promoted_tag(const struct dio_guardian *g, struct frame *f);
void promoted_release(struct dio_guardian *g, struct tracee *t, int sig);
void promoted_told_release(struct dio_guardian *g);

/* ending.c */
int ending_asked(struct tracee *t, int sig);
int ending_meets(struct tracee *t, const struct dio_info *info);

/* place.c */
int place_copy(struct dio_guardian *g, struct tracee *t, const void *data, size_t size, uint64_t *address);

#endif
