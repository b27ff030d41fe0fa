/* diorama_told.h - what file systems of ours have told, and FUSE servers that are asked without the interpreter.
 *
 * Included by diorama.h.  Times at which something holds no longer are those of CLOCK_MONOTONIC, in nanoseconds; 0: it
 * does not hold now. */
#ifndef DIORAMA_TOLD_API_H
#define DIORAMA_TOLD_API_H

struct dio_told;
struct dio_told_node {
    uint64_t inode, number /* as programs see it */, size, blocks /* of 512 bytes */, device /* of a special file */;
    int64_t accessed, modified, changed; /* nanoseconds since the epoch */
    uint32_t mode, links, uid, gid;
    uint8_t unchecked, pad[7]; /* who may do what is for the file system to say */
};
/* `fd`: the socket by which it tells; while something waits there, nothing is answered.  `unchecked` as above. */
DIO_API int dio_told_new(int fd, int unchecked, struct dio_told **out);
/* Gives back the reference of who has made it; deciders have their own. */
DIO_API void dio_told_free(struct dio_told *told);
/* Nothing holds any more, and `fd` is not looked at again. */
DIO_API void dio_told_end(struct dio_told *told);
/* Nothing is answered while something that was read there is being worked on; by one thread at a time. */
DIO_API void dio_told_silence(struct dio_told *told, int is_silent);
/* What a name in a directory leads to, 0 if there is none of that name. */
DIO_API void dio_told_name(struct dio_told *told, uint64_t directory, const char *name, size_t length, uint64_t inode,
                           int64_t until);
/* Takes that back: what it was, or -1. */
DIO_API int64_t dio_told_drop(struct dio_told *told, uint64_t directory, const char *name, size_t length);
/* Takes back all names of an inode; 0: all names. */
DIO_API void dio_told_drop_all(struct dio_told *told, uint64_t inode);
DIO_API void dio_told_node(struct dio_told *told, const struct dio_told_node *node, int64_t until);
/* What a name leads to, 0 if there is none of that name; -1 if that is not known. */
DIO_API int64_t dio_told_find(struct dio_told *told, uint64_t directory, const char *name, size_t length);
/* What is told of an inode, also if the view knows better; whether that is known. */
DIO_API int dio_told_status(struct dio_told *told, uint64_t inode, struct dio_told_node *out);
/* Something is not as it was: what was asked for before is not kept. */
DIO_API void dio_told_changed(struct dio_told *told);
/* Whether the view knows better about an inode than what is told. */
DIO_API int dio_told_differs(struct dio_told *told, uint64_t inode, int does);

/* ---- the nodes of a FUSE server (fusenodes.c) ------------------------------------------------
 *
 * The server gives a file a number, which with its generation is not used again as long as that is referred to; here
 * each has an inode, which is never used again.  The root is 1, generation 0, and inode 1. */

/* The server has told of a node, which is a reference to it: its inode, made for it if it has none; 0 without memory. */
DIO_API uint64_t dio_told_enter(struct dio_told *told, uint64_t node, uint64_t generation);
/* A directory was found by a name. */
DIO_API void dio_told_found(struct dio_told *told, uint64_t inode, uint64_t directory, const char *name, size_t length);
/* How often one was found by another name than before: what is below it has another path then. */
DIO_API uint64_t dio_told_moved(struct dio_told *told);
/* The server's number of an inode; 0 if it is forgotten. */
DIO_API uint64_t dio_told_number(struct dio_told *told, uint64_t inode);
/* The number by which programs know an inode; 0 if the server has not told it yet. */
DIO_API uint64_t dio_told_shown(struct dio_told *told, uint64_t inode);
/* In what directory one was found last; 0 if that is not known. */
DIO_API uint64_t dio_told_above(struct dio_told *told, uint64_t inode);
/* The inode that has got a number last; 0 if there is none. */
DIO_API uint64_t dio_told_latest(struct dio_told *told, uint64_t node);
/* Forgets an inode: how many references to its node there are. */
DIO_API uint64_t dio_told_leave(struct dio_told *told, uint64_t inode);

/* ---- asking a FUSE server (fuseask.c) --------------------------------------------------------
 *
 * One reads the socket at a time, also for the others.  Whoever asks here for a call of a program reads until he has
 * his answer; if that does not come at once, or something else comes first, his request is *left*: Python asks for the
 * same, and takes it over. */

struct dio_left {
    uint64_t unique, node;
    uint32_t opcode;
    int32_t tid; /* of the thread of ours */
    uint32_t flags, pad; /* of OPEN */
};

/* Whether the server may be asked: from its answer to INIT until nobody may any more. */
DIO_API void dio_told_open(struct dio_told *told, int is_open);
/* Begins to read: 0, or -EBUSY.  It waits for somebody in this library, and for all if `wait`. */
DIO_API int dio_told_read(struct dio_told *told, int wait);
/* Ends it, on the same thread. */
DIO_API void dio_told_unread(struct dio_told *told);
/* How often was asked here; to be compared. */
DIO_API uint32_t dio_told_asked(struct dio_told *told);
/* `fd`, an eventfd, is written to when somebody asks; once, or until `dio_told_disturb`, which does so. */
DIO_API void dio_told_watch(struct dio_told *told, int fd);
DIO_API void dio_told_disturb(struct dio_told *told);
/* Sends a request, and takes the answer if that is the next that comes, and soon: its size, or 0 if it is to be waited for.
 * -EBUSY: it is not sent, somebody else reads. */
DIO_API int64_t dio_told_exchange(struct dio_told *told, const void *message, size_t size, void *answer, size_t room);
/* Asks for the attributes of an inode, or for a name, as somebody's thread: whether they have come, and soon.  Of a name
 * it is 2 if those attributes hold, or there is none of that name (inode 0), and 1 if they are a type to go on by. */
DIO_API int dio_told_ask_node(struct dio_told *told, pid_t tid, uint64_t inode, struct dio_told_node *out);
DIO_API int dio_told_ask_name(struct dio_told *told, pid_t tid, uint64_t directory, const char *name, size_t length,
                              struct dio_told_node *out);
/* Has a file opened: 1 and its handle, or the server's -errno; 0 if Python must ask. */
DIO_API int dio_told_ask_open(struct dio_told *told, pid_t tid, uint64_t inode, uint32_t flags, uint64_t *handle,
                              uint32_t *how);
/* Whether a request about a node waits for its answer. */
DIO_API int dio_told_busy(struct dio_told *told, uint64_t node);
/* A number for a request that nobody will wait for: the answer is taken here, or found as one that is left.  0: there are
 * too many. */
DIO_API uint64_t dio_told_post(struct dio_told *told, uint32_t opcode, uint64_t node);
/* The number of the request that this thread has left and that asks for just that, if nothing has changed since; it is
 * the caller's now.  0: there is none.  `name` may be NULL. */
DIO_API uint64_t dio_told_adopt(struct dio_told *told, uint32_t opcode, uint64_t node, const char *name);
/* Whether this thread has left a request; it is given up now. */
DIO_API int dio_told_give_up(struct dio_told *told);
/* A left request by its number, which is the caller's now: 0, or -ENOENT. */
DIO_API int dio_told_find_left(struct dio_told *told, uint64_t unique, struct dio_left *out);

/* A request that this thread has left for a program that is gone: nobody asks for the same any more.  0: there is none. */
DIO_API uint64_t dio_told_abandon(struct dio_told *told);
/* A file was opened for a thread that goes on in Python: its handle, and what the server said to it (FOPEN_*). */
DIO_API void dio_told_give(struct dio_told *told, const struct dio_left *asked, uint64_t handle, uint32_t how);
/* Such a one for this thread, which is the caller's now; 0: there is none. */
DIO_API int dio_told_given(struct dio_told *told, uint64_t node, uint32_t flags, uint64_t *handle, uint32_t *how);
/* Takes a lease on an open file (fcntl(2)), and gives it back: 0, or why that cannot be. */
DIO_API int dio_lease(int fd, int kind);

/* ---- listings of directories (listing.c) -----------------------------------------------------
 *
 * They are asked for here, or by Python, which leaves them here.  Offsets are those that programs see. */

/* Followed by the name. */
struct dio_listed_name {
    uint64_t inode;
    uint16_t length;
    uint8_t type, pad[5];
};

/* To be taken before the names are asked for. */
DIO_API uint32_t dio_told_list_mark(struct dio_told *told);
/* All names of a directory, in the order of the server.  As `dio_told_listed`, or -ENOMEM. */
DIO_API int64_t dio_told_list(struct dio_told *told, uint64_t inode, uint32_t mark, const void *names, size_t size,
                              int64_t position, void *out, size_t room);
/* Entries behind a position, as of getdents64(2) and as many as have room: their size; or -ENOENT if they must be asked
 * for.  It may wait for somebody who does. */
DIO_API int64_t dio_told_listed(struct dio_told *told, uint64_t inode, int64_t position, void *out, size_t room);
/* Who was told entries from one position of an open directory on goes behind them: 0 if somebody else, who shares it, has
 * gone on meanwhile. */
DIO_API int dio_told_list_moved(struct dio_told *told, int fd, int64_t from, int64_t to);
/* A name was made or removed there. */
DIO_API void dio_told_list_changed(struct dio_told *told, uint64_t inode);
/* A directory that this thread has begun to list for the call that Python is to answer now, if the server is slow; 0 if there
 * is none.  Once. */
DIO_API uint64_t dio_told_left_listing(const struct dio_told *told);
/* What the server can do: READDIRPLUS, and open directories. */
DIO_API void dio_told_lists(struct dio_told *told, int plus, int opens);

/* ---- files that are opened again (fusekept.c) ------------------------------------------------ */

enum { DIO_KEPT_HANDLES = 16 };

/* A file by its name, its path being that of when `moved` was so, and what was told of it; `most`: so much is read at
 * once. */
struct dio_kept {
    struct dio_told *told;
    uint64_t inode, directory, size;
    int64_t modified;
    const char *name;
    size_t length;
    int32_t mount;
    uint32_t most;
    uint64_t moved;
};

struct dio_kept_handle {
    uint64_t handle;
    uint32_t flags, how; /* as in OPEN and its answer */
};

/* `watch` of an inotify instance, -1 if it is not watched; `due`: so often it may tell of what is released already. */
struct dio_taken {
    int32_t watch;
    uint32_t count;
    uint32_t due, pad;
    struct dio_kept_handle handles[DIO_KEPT_HANDLES];
};

struct dio_decider;
/* Who is told by the kernel of what is closed. */
DIO_API void dio_decider_watches(struct dio_decider *decider, int inotify);
/* What is closed from now on is told besides what was closed before, not instead. */
DIO_API void dio_decider_divide(struct dio_decider *decider);
/* From now on it may be opened for reading without asking; `fd` is its content, for reading, and `open` how others have
 * it open, for reading too: what `dio_decider_take` gives. */
DIO_API int dio_decider_keep(struct dio_decider *decider, const struct dio_kept *what, int fd,
                             const struct dio_taken *open);
/* No longer: what is open of it is the caller's to release.  -ENOENT if it was not. */
DIO_API int dio_decider_take(struct dio_decider *decider, const struct dio_told *told, uint64_t inode,
                             struct dio_taken *out);
/* No longer, and the server is told that nothing of it is open: nobody can be found any more who has it. */
DIO_API void dio_decider_abandon(struct dio_decider *decider, const struct dio_told *told, uint64_t inode);
/* An open file of what has this watch is gone, which was told before it was kept; nothing is kept if that was taken since. */
DIO_API void dio_decider_closed(struct dio_decider *decider, int watch);
/* Waits for events of inotify, and settles what concerns what is kept; the size of others, which are for the caller.  0 when
 * `stop` can be read. */
DIO_API ssize_t dio_decider_listen(struct dio_decider *decider, int inotify, int stop, void *events, size_t room);

enum { DIO_MADE_PATH = 4096 };

/* ---- directories that are opened (standins.c) ------------------------------------------------- */

/* The real directory that stands for an inode of a mount, and the path in that by which it was opened last. */
DIO_API int dio_decider_standin(struct dio_decider *decider, int32_t mount, uint64_t inode, const char *path,
                                const char *real);
/* Until `dio_decider_standins_forget` none is made here; all that was can be adopted. */
DIO_API void dio_decider_standins_hold(struct dio_decider *decider);
/* Paths are others now. */
DIO_API void dio_decider_standins_forget(struct dio_decider *decider);

/* What was made here, or was opened by another path: what `dio_decider_standin` tells, the inode of the directory that has its name (0 if that was not
 * looked up), and what is to be known of the real one. */
struct dio_standin {
    uint64_t inode, directory, device, number;
    uint32_t mode;
    int32_t mount;
    char paths[DIO_MADE_PATH]; /* one behind the other, each with a zero byte */
};

/* Whoever opens a directory first has it made in this one; NULL: not any more. */
DIO_API int dio_decider_standins_make(struct dio_decider *decider, const char *home);
/* How many there are that were not adopted; it may be read as long as there is the decider. */
DIO_API const uint32_t *dio_decider_standins_made(struct dio_decider *decider);
/* Gives the oldest of them: 0, or -ENOENT. */
DIO_API int dio_decider_standin_adopt(struct dio_decider *decider, struct dio_standin *out);
/* From now on none is made here for an inode; what was made before can be adopted. */
DIO_API void dio_decider_standin_claim(struct dio_decider *decider, int32_t mount, uint64_t inode);
/* What it stands for has no name any more, of which the view knows better (`dio_told_differs`), or is forgotten. */
DIO_API void dio_decider_standin_drop(struct dio_decider *decider, int32_t mount, uint64_t inode);

/* ---- files that are opened first (fusefirst.c) ----------------------------------------------- */

/* What was opened here, and is kept; `fd`, its content, is the caller's from now on.  `path`, from the inode `base` on,
 * is no string, and `what` has no name: it is the last one of the path. */
struct dio_made {
    struct dio_kept what;
    struct dio_told_node node;
    uint64_t base;
    int32_t fd;
    uint32_t length;
    char path[DIO_MADE_PATH];
};

/* The server's calls do not come by the listener of the programs that it serves, so while it is asked nobody else need
 * receive at once. */
DIO_API void dio_told_outside(struct dio_told *told);
/* How much is read at once of files that are opened here first; 0: none are. */
DIO_API void dio_told_opens(struct dio_told *told, uint32_t most);
/* Whether files are opened here first at all. */
DIO_API void dio_decider_opens(struct dio_decider *decider, int gives);
/* How many there are that were not adopted; it may be read as long as there is the decider. */
DIO_API const uint32_t *dio_decider_made(struct dio_decider *decider);
/* Gives the oldest of them, and claims it: 0, or -ENOENT. */
DIO_API int dio_decider_adopt(struct dio_decider *decider, struct dio_made *out);
/* From now on a file is not opened here first; what was before can be adopted.  As often as that it must be disclaimed. */
DIO_API int dio_decider_claim(struct dio_decider *decider, const struct dio_told *told, uint64_t inode);
DIO_API void dio_decider_disclaim(struct dio_decider *decider, const struct dio_told *told, uint64_t inode);

/* ---- writing to a FUSE server (fusewrite.c) -------------------------------------------------- */

struct dio_fuse_write {
    int32_t socket, file;
    uint64_t unique, node, handle, offset, end;
    uint32_t most, flags, uid, gid, pid;
};
/* Has up to `requests` WRITEs done of a file, from `offset` to `end`, and counts `offset` and `unique` on.  Who calls
 * it reads the socket.  0; or the size of the request that is sent and not answered; or -errno, and none is. */
DIO_API int dio_fuse_write(struct dio_fuse_write *w, uint32_t requests);

#endif
