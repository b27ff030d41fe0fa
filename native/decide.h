/* decide.h - what the files of `decide` share.
 *
 * A table (decisions and mounts) never changes once it is made; who decides holds a reference, so that a
 * call which hangs in a dead network file system holds nobody up.  What changes with every process stands in
 * the decider behind a lock that is held for a look-up only, with counters that make the empty case free. */
#ifndef DIORAMA_DECIDE_H
#define DIORAMA_DECIDE_H

#include "internal.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

/* As of Linux 5.8; older headers lack them.  The numbers are the same on every architecture. */
#define KERNEL_OPENAT2 437
#define KERNEL_FACCESSAT2 439
#define KERNEL_STATX_IDS 0x5000 /* STATX_MNT_ID | STATX_MNT_ID_UNIQUE */
#define KERNEL_NO_SYMLINKS 0x04 /* RESOLVE_NO_SYMLINKS */
#define KERNEL_CACHED 0x20      /* RESOLVE_CACHED, as of Linux 5.12 */

struct kernel_open_how {
    uint64_t flags, mode, resolve;
};

enum { COVER_NONE = -1, COVER_PRIVATE = -2 };

struct mounted {
    int32_t parent;
    uint8_t read_only, directory, no_exec, synthetic, owned;
    struct dio_told *told; /* synthetic: what is known of its files, or NULL */
    uint64_t inode, device, id;
    size_t point_length, host_length, upper_length, hidden_length;
    char *point, *host;
    char *upper, *hidden, *notes; /* NULL: none */
    size_t notes_length;
};

/* What is mounted on a place: the topmost mount, so that a look-up is enough. */
struct cover {
    int32_t mount, top;
    uint64_t hash;
    const char *path;
    size_t length;
};

struct table {
    atomic_uint references;
    uint32_t flags;
    size_t decision_count, mount_count, cover_mask;
    struct dio_decision *decisions;
    struct mounted *mounts;
    struct cover *covers; /* open addressing, path NULL: free */
    char **privates; /* the last is NULL */
    int32_t base;        /* the mount that programs find at `/` */
    uint8_t base_moved;  /* the kernel finds another there */
    uint8_t proc_mounts; /* something is mounted below /proc */
    uint8_t has_owned;   /* some mount remembers who owns what */
};

#define HASH_START UINT64_C(0xcbf29ce484222325)

static inline uint64_t hash_add(uint64_t hash, const char *text, size_t length) {
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)text[i]) * UINT64_C(0x100000001b3);
    return hash;
}

int table_make(const struct dio_decision *decisions, size_t decision_count, const struct dio_mounted *mounts,
               size_t mount_count, const char *const *privates, uint32_t flags, struct table **out);
void table_release(struct table *table);
/* Whether a host path is that of what stands for virtual objects. */
int table_is_private(const struct table *table, const char *path);
const struct dio_decision *table_decision(const struct table *table, uint32_t abi, int64_t nr);
/* The mount on top of a place, COVER_NONE, or COVER_PRIVATE; `hash` is that of the path. */
/* Whether something is mounted below a place, in the same mount. */
int table_has_points(const struct table *table, int32_t mount, const char *path, size_t length);
int32_t table_cover(const struct table *table, int32_t mount, const char *path, size_t length, uint64_t hash);

/* ---- what changes: processes, what they opened, identities ---- */

/* Records in order, found by halving. */
struct sorted {
    char *items;
    size_t room, size;
    int (*order)(const void *, const void *);
    atomic_size_t count;
};

/* Who somebody is: lines of /proc/TID/status, and the namespaces that change what a path or a result means. */
struct rights {
    char text[2048], user[64], mount[64];
    uint8_t known, privileged;
};

/* Where a file was reached by. */
struct reached {
    uint64_t dev, ino;
    int32_t mount; /* 0: none */
};
enum { REACHED = 8192 };

/* How owners of files of the host are shown. */
struct mapping {
    uint8_t is_set;
    uint32_t host_uid, uid, host_gid, gid;
};

struct dio_decider {
    pthread_rwlock_t lock; /* of `table` (the pointer), and of the four below */
    struct table *table;
    struct sorted processes, opened, identities, stands;
    struct sorted clocks;
    pthread_rwlock_t clock_lock; /* of `clocks` */
    struct reached *reached; /* REACHED of them, each at the hash of its file, or NULL */
    struct rights rights;
    struct mapping mapping;
    struct keeper *keeper; /* of files that are opened again (fusekept.c) */
    struct standins *standins; /* of directories (standins.c) */
    atomic_int strangers; /* somebody may have namespaces of its own */
    size_t sweep_at;      /* entries of `opened` at which what is closed is forgotten */
    uint8_t no_openat2, no_cached;
};

void sorted_init(struct sorted *s, size_t size, int (*order)(const void *, const void *));
size_t sorted_place(const struct sorted *s, const void *key);
void *sorted_find(const struct sorted *s, const void *key);
int sorted_put(struct sorted *s, const void *item);
void sorted_drop(struct sorted *s, const void *key);

/* Whether a thread belongs to a process, and to which; -1 if that cannot be told. */
int thread_belongs(pid_t tgid, pid_t tid);
pid_t thread_process(pid_t tid);

void opened_init(struct dio_decider *decider);
void opened_drop(struct dio_decider *decider, pid_t tgid); /* with the lock held */
int decider_has_opened(struct dio_decider *decider, pid_t tid);

struct table *decider_table(struct dio_decider *decider);
/* What is known of the process of a thread; 0, or -EAGAIN if that cannot be told. */
int decider_find(struct dio_decider *decider, pid_t tid, struct dio_process *out);
int decider_is_virtual(struct dio_decider *decider, const struct stat *status);
/* Whether a descriptor of what is virtual, by its link in /proc, is open for writing, or of a file with locks or in pieces. */
int closing_matters(struct dio_decider *decider, const char *name, const struct stat *status);
/* Whether it is a socket of ours, for a file of which nothing is kept here, a file with locks or one in pieces: or that
 * cannot be told. */
int decider_is_direct(struct dio_decider *decider, pid_t tid, int32_t fd);
/* The mount and the inode that a real object stands for; 0 if that is not known. */
int decider_stands(struct dio_decider *decider, const struct stat *status, int32_t *mount, uint64_t *inode);
/* It is gone, and its number may be another's. */
void stands_drop(struct dio_decider *decider, uint64_t dev, uint64_t ino);
/* The mount that the process of `tid` opened this through: OPENED_PLAINLY, or OPENED_UNSURE when the thread
 * cannot be looked at. */
enum { OPENED_PLAINLY = -1, OPENED_UNSURE = -2 };
int32_t decider_opened_through(struct dio_decider *decider, pid_t tid, const struct stat *status);

/* ---- what may take long ---- */

/* To be asked before a call that may wait for somebody else than the disk: 0, or -EBUSY when only Python may. */
int may_wait(const struct dio_asked *asked);
/* The same before something is done with an object of a device. */
int may_wait_for(const struct dio_asked *asked, dev_t device);
/* Device, inode and type of an object, without asking whoever serves it: `name` is a path, or empty for `fd`. */
int identity_read(int fd, const char *name, struct stat *out);

/* ---- rights ---- */

void rights_learn(struct rights *rights);
/* Whether what we do for a thread is what it may do itself. */
int rights_equal(struct dio_decider *decider, pid_t tid);

/* As of Linux 5.3, 5.6 and 6.9; older headers lack them.  The numbers are the same on every architecture. */
enum { KERNEL_PIDFD_OPEN = 434, KERNEL_PIDFD_GETFD = 438, KERNEL_PIDFD_THREAD = O_EXCL };
/* A pidfd of a thread, or -errno. */
int thread_pidfd(pid_t tid);
/* Who a thread is to files, and its process: 0 or -errno. */
int thread_caller(pid_t tid, uint32_t *uid, uint32_t *gid, uint32_t *pid);

/* Whether a path is a directory's, of that length, or one below it. */
static inline int is_below(const char *path, const char *directory, size_t length) {
    return !strncmp(path, directory, length) && (!path[length] || path[length] == '/');
}

/* ---- a layer over the root ---- */

/* Whether the upper layer of a mount, if it has one, has left a place as it is below. */
int layer_left(const struct mounted *mount, const char *path, size_t length);
/* The same of a directory by its host path, and of all names in it. */
int layer_left_names(const struct mounted *mount, const char *path, size_t length);
/* Whether a host path is in the layer itself, and not below it. */
int layer_has(const struct mounted *mount, const char *path);

/* ---- walk ---- */

enum { PLACE_ROOM = PATH_MAX, TODO_ROOM = 2 * PATH_MAX };

/* TOLD: the rest of the way is in a file system of ours, and begins at `inode`. */
enum walk_end { WALK_ASK, WALK_FOUND, WALK_FAILED, WALK_PROC, WALK_TOLD };

/* A resolution.  The place is (mount, path), `todo + at` is still to be walked. */
struct walk {
    const struct table *table;
    const struct dio_asked *asked; /* on whose behalf; see `may_wait` */
    int32_t mount;
    uint8_t touched, follow, directory, no_openat2, no_cached;
    uint8_t checked; /* where owners are remembered, only what everybody may do is done */
    int links;
    int fd;    /* FOUND: O_PATH descriptor of the place, or -1 when the way is known but nothing was opened */
    int error; /* FAILED: the kernel's errno */
    uint64_t inode;
    size_t length, at;
    char path[PLACE_ROOM];
    char todo[TODO_ROOM];
};

/* The next name of a path from `*at` on, which is left behind it; its length, 0 if there is none. */
size_t name_next(const char **at, const char **name);
/* Puts a walk at the root of the view. */
void walk_begin(struct walk *w);
/* The caller has set all but fd, error, links; it closes `fd` after FOUND. */
enum walk_end walk_run(struct walk *w);
/* The host path of the place; 0 or -ENAMETOOLONG. */
int walk_text(const struct walk *w, char out[PATH_MAX]);
/* Whether a place on the host is in /proc. */
int walk_in_proc(const struct walk *w);
/* Opens what was found, if that has not been done: 0 or -errno. */
int walk_open(struct walk *w);

/* ---- what is executed ---- */

/* Whether Python must see to the execution of what a walk has found that met no mount. */
int decide_exec(struct walk *w);

/* ---- clocks ---- */

int clocks_init(struct dio_decider *d);
void clocks_free(struct dio_decider *d);
/* Answers a call that reads a clock, for a process that has the one of this number. */
void decide_reading(struct dio_decider *d, const struct dio_decision *decision, const struct dio_asked *asked,
                    uint32_t number, struct dio_verdict *out);
/* Whether a call that waits is the same for the host. */
int decide_wait(struct dio_decider *d, const struct dio_decision *decision, const struct dio_asked *asked,
                uint32_t number);

/* ---- told ---- */

/* Answers a call with one path, whose walk has ended with WALK_TOLD, if what was told is enough for that. */
void decide_told(struct dio_decider *decider, const struct dio_decision *decision, const struct dio_asked *asked,
                 const struct walk *w, struct dio_verdict *out);

/* Answers a call that lists a directory of ours, if that can be done. */
void decide_list(const struct dio_decision *decision, const struct dio_asked *asked, const struct mounted *mount,
                 uint64_t inode, struct dio_verdict *out);

/* ---- files that are opened again ---- */

int keeper_init(struct dio_decider *decider);
void keeper_free(struct dio_decider *decider);

/* ---- directories that are opened ---- */

int standins_init(struct dio_decider *decider);
void standins_free(struct dio_decider *decider);
/* Whether it is likely that what is opened is one. */
int standin_is_likely(struct dio_decider *decider);
/* A directory of ours, to which the walk has led: `directory` is what has its name, 0 if that was not looked up, and
 * `renamed` what `standins_renamed` was before the walk. */
struct standin_place {
    struct dio_told *told;
    const struct walk *walk;
    uint64_t inode, directory, renamed;
};
/* Changes when directories are renamed. */
uint64_t standins_renamed(struct dio_decider *decider);
/* Opens one, if it was opened by the same path before, or never. */
void standin_open(struct dio_decider *decider, const struct dio_decision *decision, const struct dio_asked *asked,
                  const struct standin_place *at, uint32_t flags, struct dio_verdict *out);

/* ---- who owns what ---- */

/* What is remembered of a file: the status that programs are to see.  `link` is its link in /proc, `status` what the
 * kernel says.  0, or -1 if only Python knows. */
int owned_show(const struct mounted *mount, const char *link, struct stat *status);
/* The same of any file of the host: what is not remembered is mapped. */
int owner_show(const struct dio_decider *decider, const struct mounted *mount, const char *link, struct stat *status);
/* Whether everybody may do with a file what these bits, of one digit, say; 0 also if that is not known. */
int owned_lets_all(const struct mounted *mount, const char *link, mode_t bits);
/* Whether something is remembered of a file, which may matter when it is opened. */
int owned_has_note(const struct mounted *mount, const char *link);

/* ---- do ---- */

/* Tells the status of an open file of the host, by its link in /proc; `mount` remembers, or is NULL. */
void decide_show(const struct dio_decider *decider, const struct dio_decision *decision, const struct dio_asked *asked,
                 const struct mounted *mount, const char *link, struct dio_verdict *out);

void decide_do(struct dio_decider *decider, const struct dio_decision *decision, const struct dio_asked *asked,
               struct walk *w, enum walk_end end, struct dio_verdict *out);

#endif
