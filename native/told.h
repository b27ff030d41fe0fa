/* told.h - looking up what file systems have told, and asking them. */
#ifndef DIORAMA_TOLD_H
#define DIORAMA_TOLD_H

#include "decide.h"

/* ---- looking ---- */

/* One reference more, which `dio_told_free` gives back; NULL stays NULL. */
struct dio_told *told_take(struct dio_told *told);
/* Whether nothing has come from the file system that Python has not seen yet. */
int told_holds(struct dio_told *told);
/* The same by who does not read; what has come for somebody who reads here is none, as soon as he has taken it. */
int told_holds_soon(struct dio_told *told);
/* Whether it is known what a name leads to: `inode`, 0 if there is no such name. */
int told_name(struct dio_told *told, uint64_t directory, const char *name, size_t length, uint64_t *inode);
/* Whether the attributes of an inode are known. */
int told_node(struct dio_told *told, uint64_t inode, struct dio_told_node *out);
/* Whether the view knows better about an inode. */
int told_differs(struct dio_told *told, uint64_t inode);

/* ---- nodes ---- */

struct node;
struct nodes {
    struct node **numbers, **inodes;
    size_t mask, count;
    uint64_t next;
};
int nodes_init(struct nodes *nodes);
void nodes_free(struct nodes *nodes);
/* As `dio_told_enter`, by who holds the lock; so many references more. */
uint64_t nodes_enter(struct nodes *nodes, uint64_t number, uint64_t generation, uint64_t references);
struct server;
/* The number by which programs know an inode; 0 if the server has not told it yet. */
uint64_t nodes_shown(struct server *server, uint64_t inode);
/* By what directory one was found last; 0 if that is not known. */
uint64_t nodes_above(struct server *server, uint64_t inode);
/* The server has told the number of an inode. */
void nodes_show(struct server *server, uint64_t inode, uint64_t number);
/* As `dio_told_found`, by who holds the lock. */
void nodes_found(struct server *server, uint64_t inode, uint64_t directory, const char *name, size_t length);

/* ---- asking ---- */

enum { LEFT = 16, POSTED = 64, NAME_ROOM = 256 };

/* An open file as the server knows it: its handle, the flags with which it was opened, and what the server said to it. */
struct handle {
    uint64_t number;
    uint32_t flags, how;
};

/* A request whose answer is for somebody else to read; `unique` 0: free.  READDIR: the handle, released with the answer. */
struct left {
    struct dio_left what;
    uint64_t mark;
    char name[NAME_ROOM];
    struct handle handle;
};

/* A handle for somebody else; `tid` 0: free. */
struct given {
    pid_t tid;
    uint64_t node;
    struct handle handle;
};

/* The server of a file system.  `lock` guards nodes, what is left and what is given, and is taken last.  `sending` is
 * held by who sends without reading. */
struct server {
    pthread_mutex_t reading, lock, sending;
    struct nodes nodes;
    struct left left[LEFT];
    struct dio_left posted[POSTED]; /* what nobody waits for; `unique` 0: free */
    struct given given[LEFT];
    atomic_uint left_count, posted_count, given_count, asked;
    atomic_int open, here /* somebody reads in this library */, watched;
    atomic_int keeps; /* what was told last of a name, and of its attributes, held for a time */
    atomic_ullong unique, changes, busy, moved;
    atomic_int lists, opens_directories; /* as `dio_told_lists` */
    struct listings *listings;
    atomic_uint opens; /* how much is read at once of what is opened here first; 0: nothing is */
    atomic_int outside; /* as `dio_told_outside` */
    int unchecked;
};
int server_init(struct server *server, int unchecked);
void server_free(struct server *server);
struct server *told_server(struct dio_told *told);
int told_socket(struct dio_told *told);
/* Takes the answers that nobody waits for, as long as they are the next that have come, if nobody reads. */
void server_absorb(struct dio_told *told);
/* As `dio_told_name` and `dio_told_node`, unless something has changed since `mark`, a value of `changes`. */
void told_store_name(struct dio_told *told, uint64_t directory, const char *name, size_t length, uint64_t inode,
                     int64_t until, uint64_t mark);
void told_store_node(struct dio_told *told, const struct dio_told_node *node, int64_t until, uint64_t mark);

/* Asking for one call of a program, from the first question to `session_end`. */
struct session {
    struct dio_told *told;
    const struct dio_asked *asked;
    int state; /* 0: nothing asked yet; 1: we read; -1: nothing can be asked */
    struct dio_listener *listener; /* that is told so, where the server needs it */
    uint32_t uid, gid, pid;
};
/* The attributes of an inode: 1, or 0 if Python must ask. */
int session_node(struct session *s, uint64_t inode, struct dio_told_node *out);
/* What a name leads to, and what came with it of its attributes: 2 if those hold, 1 if they are a type to go on by;
 * 0 if Python must ask. */
int session_name(struct session *s, uint64_t directory, const char *name, size_t length, struct dio_told_node *out);
void session_end(struct session *s);
/* A name that was asked for, `mark` being from before. */
struct entering {
    uint64_t directory, mark;
    const char *name;
    size_t length;
};
/* Takes what the server has said of it, a struct fuse_entry_out: as `session_name`. */
int told_entered(struct dio_told *told, const struct entering *at, const void *found, struct dio_told_node *out);
/* Asks, with a number that is put into the request, 0 if it is not sent: 1, or the server's -errno, or 0 if Python must
 * ask.  The answer has the size of `room`, or with `got` any up to that. */
int session_ask(struct session *s, struct left *request, const void *body, size_t size, void *answer, size_t room,
                size_t *got);

/* Where a link leads (fuselink.c): the length of its target, or the server's -errno; 0 if Python must ask. */
ssize_t session_link(struct session *s, uint64_t inode, char target[PATH_MAX]);

/* ---- opening (fuseopen.c) ---- */

enum { READ_HEAD = 16 /* before the content in an answer */ };
/* Has the server open a file, or with O_DIRECTORY a directory: as `session_ask`. */
int session_open(struct session *s, uint64_t node, uint32_t flags, struct handle *out);
/* Reads; `answer` has room for the content, which begins at READ_HEAD.  The number of bytes, or -1 if that is not known. */
ssize_t session_read(struct session *s, uint64_t node, const struct handle *handle, uint64_t offset, uint32_t size,
                     void *answer);
/* Tells that it is closed: 0, or -EAGAIN while that cannot be sent. */
int server_release(struct dio_told *told, uint64_t node, const struct handle *handle);
/* Gives back a reference to a node that the server has told of and that is not entered; what cannot be sent is entered. */
void server_forget(struct dio_told *told, uint64_t number, uint64_t generation);
/* Leaves a handle to this thread, which goes on in Python. */
void server_give(struct dio_told *told, uint64_t node, const struct handle *handle);
/* Releases what this thread was given in an earlier call and has not taken. */
void given_release(struct dio_told *told);

/* ---- files that are opened again (fusekept.c) ---- */

/* What a walk has found: a name in a directory, and the attributes of its file. */
struct kept_place {
    struct dio_told *told;
    int32_t mount;
    uint64_t directory;
    const char *name;
    size_t length;
    const struct dio_told_node *node;
    uint64_t base; /* the inode from which `path` led there */
    const char *path;
};
#define KEPT_ASK INT32_MIN
/* A descriptor, or the server's -errno, or KEPT_ASK.  With `lent` it is no more than lent, until `lent_end`. */
int kept_open(struct dio_decider *decider, struct session *s, const struct kept_place *at, uint32_t flags,
              struct dio_lent **lent);
/* Whether it is likely that what is opened is kept. */
int kept_is_likely(struct dio_decider *decider, struct dio_told *told);

#endif
