/* fuseask.c - a FUSE server is asked for a name or for attributes, without the interpreter.
 *
 * It is what Python does (src/diorama/modules/filesystems/fuse/channel.py, known.py) where all goes as it should, at a
 * fifth of the cost.  One reads the socket at a time, and so one asks here.  An answer that is not there within the
 * socket's time limit, or behind something else, or of another form than was asked for, is not touched: the request is
 * left, and Python goes on with it.  What is told is kept as long as it holds, unless something has changed meanwhile.
 *
 * The numbers of requests that are made here begin where those of Python never come. */
#include "listener.h"
#include "listing.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define FIRST_UNIQUE (UINT64_C(1) << 62)
#define NSEC INT64_C(1000000000)

enum { ERRNO_MOST = 511, PATIENCE_NS = 50000000, TURN_NS = 2000000, BLOCK = 4096 };

struct entry_answer {
    struct fuse_out_header header;
    struct fuse_entry_out entry;
};

struct attr_answer {
    struct fuse_out_header header;
    struct fuse_attr_out attr;
};

int server_init(struct server *server, int unchecked) {
    int error = nodes_init(&server->nodes);
    if (!error)
        error = listings_init(server);
    server->unchecked = unchecked;
    atomic_init(&server->watched, -1);
    atomic_init(&server->unique, FIRST_UNIQUE);
    if (pthread_mutex_init(&server->reading, NULL) || pthread_mutex_init(&server->lock, NULL) ||
        pthread_mutex_init(&server->sending, NULL))
        error = -ENOMEM;
    return error;
}

void server_free(struct server *server) {
    nodes_free(&server->nodes);
    listings_free(server);
    pthread_mutex_destroy(&server->reading);
    pthread_mutex_destroy(&server->lock);
    pthread_mutex_destroy(&server->sending);
}

/* ---- who reads ---- */

void dio_told_outside(struct dio_told *told) { atomic_store(&told_server(told)->outside, 1); }

/* Afterwards nobody sends who has not seen it. */
void dio_told_open(struct dio_told *told, int is_open) {
    struct server *server = told_server(told);
    atomic_store(&server->open, is_open);
    pthread_mutex_lock(&server->sending);
    pthread_mutex_unlock(&server->sending);
}

/* Begins to read, if nobody does, or as soon as who does so here has what it asked for. */
static int reading_begin(struct server *server, long patience) {
    struct timespec until;
    if (!pthread_mutex_trylock(&server->reading))
        return 0;
    if (!atomic_load(&server->here))
        return -EBUSY;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += patience;
    until.tv_sec += until.tv_nsec / NSEC;
    until.tv_nsec %= NSEC;
    return pthread_mutex_timedlock(&server->reading, &until) ? -EBUSY : 0;
}

int dio_told_read(struct dio_told *told, int wait) {
    struct server *server = told_server(told);
    return wait ? -pthread_mutex_lock(&server->reading) : reading_begin(server, PATIENCE_NS);
}

void dio_told_unread(struct dio_told *told) { pthread_mutex_unlock(&told_server(told)->reading); }

uint32_t dio_told_asked(struct dio_told *told) { return atomic_load(&told_server(told)->asked); }

/* Who has waited for this lock may close what was watched before. */
void dio_told_watch(struct dio_told *told, int fd) {
    struct server *server = told_server(told);
    pthread_mutex_lock(&server->lock);
    atomic_store(&server->watched, fd);
    pthread_mutex_unlock(&server->lock);
}

void dio_told_disturb(struct dio_told *told) {
    struct server *server = told_server(told);
    if (atomic_load(&server->watched) < 0)
        return;
    pthread_mutex_lock(&server->lock);
    int fd = atomic_exchange(&server->watched, -1);
    if (fd >= 0)
        eventfd_write(fd, 1);
    pthread_mutex_unlock(&server->lock);
}

int dio_told_busy(struct dio_told *told, uint64_t node) {
    struct server *server = told_server(told);
    int busy = atomic_load(&server->busy) == node;
    if (!atomic_load(&server->left_count) && !atomic_load(&server->posted_count) && !atomic_load(&server->given_count))
        return busy;
    pthread_mutex_lock(&server->lock);
    for (int i = 0; i < POSTED; i++)
        busy |= server->posted[i].unique && server->posted[i].node == node;
    for (int i = 0; i < LEFT; i++)
        busy |= (server->left[i].what.unique && server->left[i].what.node == node) ||
                (server->given[i].tid && server->given[i].node == node);
    pthread_mutex_unlock(&server->lock);
    return busy;
}

/* ---- requests that nobody waits for ---- */

static uint64_t unique_next(struct server *server) { return atomic_fetch_add(&server->unique, 2); }

uint64_t dio_told_post(struct dio_told *told, uint32_t opcode, uint64_t node) {
    struct server *server = told_server(told);
    uint64_t unique = 0;
    pthread_mutex_lock(&server->lock);
    for (int i = 0; i < POSTED && !unique; i++)
        if (!server->posted[i].unique) {
            unique = unique_next(server);
            server->posted[i] = (struct dio_left){.unique = unique, .node = node, .opcode = opcode};
            atomic_fetch_add(&server->posted_count, 1);
        }
    pthread_mutex_unlock(&server->lock);
    return unique;
}

static int posted_take(struct server *server, uint64_t unique, struct dio_left *out) {
    int found = 0;
    if (!atomic_load(&server->posted_count) || unique < FIRST_UNIQUE)
        return 0;
    pthread_mutex_lock(&server->lock);
    for (int i = 0; i < POSTED && !found; i++)
        if (server->posted[i].unique == unique) {
            *out = server->posted[i];
            server->posted[i].unique = 0;
            atomic_fetch_sub(&server->posted_count, 1);
            found = 1;
        }
    pthread_mutex_unlock(&server->lock);
    return found;
}

/* The head of the next answer that somebody waits for, which stays where it is: the size of all of it, or what recv(2)
 * says.  By who reads. */
static ssize_t answer_peek(struct dio_told *told, struct fuse_out_header *header, int flags) {
    struct dio_left posted;
    for (;;) {
        ssize_t n = recv(told_socket(told), header, sizeof *header, MSG_PEEK | MSG_TRUNC | flags);
        int is_plain = n == sizeof *header && header->len == sizeof *header && header->error <= 0 &&
                       header->error >= -ERRNO_MOST;
        if (!is_plain || !posted_take(told_server(told), header->unique, &posted))
            return n;
        recv(told_socket(told), header, sizeof *header, MSG_DONTWAIT);
    }
}

void server_absorb(struct dio_told *told) {
    struct server *server = told_server(told);
    struct fuse_out_header header;
    if (!atomic_load(&server->posted_count) || !atomic_load(&server->open) || pthread_mutex_trylock(&server->reading))
        return;
    atomic_store(&server->here, 1);
    if (atomic_load(&server->open))
        answer_peek(told, &header, MSG_DONTWAIT);
    atomic_store(&server->here, 0);
    pthread_mutex_unlock(&server->reading);
}

/* ---- requests that are left ---- */

static void left_take(struct server *server, struct left *left) {
    left->what.unique = 0;
    atomic_fetch_sub(&server->left_count, 1);
}

uint64_t dio_told_adopt(struct dio_told *told, uint32_t opcode, uint64_t node, const char *name) {
    struct server *server = told_server(told);
    uint64_t unique = 0;
    pid_t tid = (pid_t)syscall(SYS_gettid);
    if (!atomic_load(&server->left_count))
        return 0;
    pthread_mutex_lock(&server->lock);
    for (int i = 0; i < LEFT && !unique; i++) {
        struct left *left = &server->left[i];
        if (!left->what.unique || left->what.tid != tid || left->what.opcode != opcode || left->what.node != node ||
            strcmp(left->name, name ? name : "") ||
            (opcode != FUSE_OPEN && left->mark != atomic_load(&server->changes)))
            continue;
        unique = left->what.unique;
        left_take(server, left);
    }
    pthread_mutex_unlock(&server->lock);
    return unique;
}

int dio_told_give_up(struct dio_told *told) {
    struct server *server = told_server(told);
    pid_t tid = (pid_t)syscall(SYS_gettid);
    int found = 0;
    pthread_mutex_lock(&server->lock);
    for (int i = 0; i < LEFT; i++)
        if (server->left[i].what.unique && server->left[i].what.tid == tid) {
            left_take(server, &server->left[i]);
            found = 1;
        }
    pthread_mutex_unlock(&server->lock);
    return found;
}

int dio_told_find_left(struct dio_told *told, uint64_t unique, struct dio_left *out) {
    struct server *server = told_server(told);
    int error = posted_take(server, unique, out) ? 0 : -ENOENT;
    struct handle handle = {0};
    pthread_mutex_lock(&server->lock);
    for (int i = 0; i < LEFT && error && unique; i++)
        if (server->left[i].what.unique == unique) {
            *out = server->left[i].what;
            handle = server->left[i].handle;
            left_take(server, &server->left[i]);
            error = 0;
        }
    pthread_mutex_unlock(&server->lock);
    if (handle.flags && server_release(told, out->node, &handle))
        server_give(told, out->node, &handle);
    return error;
}

/* What this thread has left in an earlier call is for nobody any more. */
static void left_disown(struct server *server) {
    pid_t tid = (pid_t)syscall(SYS_gettid);
    if (!atomic_load(&server->left_count))
        return;
    pthread_mutex_lock(&server->lock);
    for (int i = 0; i < LEFT; i++)
        if (server->left[i].what.tid == tid)
            server->left[i].what.tid = 0;
    pthread_mutex_unlock(&server->lock);
}

/* By who reads, so that nobody reads its answer before. */
static void leave(struct server *server, const struct left *request) {
    pthread_mutex_lock(&server->lock);
    for (int i = 0; i < LEFT; i++)
        if (!server->left[i].what.unique) {
            server->left[i] = *request;
            atomic_fetch_add(&server->left_count, 1);
            break;
        }
    pthread_mutex_unlock(&server->lock);
}

/* ---- a question and its answer ---- */

static int session_begin(struct session *s) {
    struct server *server = told_server(s->told);
    if (s->state)
        return s->state > 0;
    s->state = -1;
    left_disown(server);
    given_release(s->told);
    if (!atomic_load(&server->open) || thread_caller(s->asked->tid, &s->uid, &s->gid, &s->pid) || may_wait(s->asked))
        return 0;
    atomic_fetch_add(&server->asked, 1);
    dio_told_disturb(s->told);
    s->listener = atomic_load(&server->outside) ? NULL : s->asked->listener;
    listener_asks(s->listener, 1);
    if (reading_begin(server, TURN_NS)) { /* a server that is slow is asked by several at once, in Python */
        listener_asks(s->listener, 0);
        return 0;
    }
    atomic_store(&server->here, 1);
    s->state = 1;
    /* Nobody closes the socket while somebody reads, and nobody begins to when it is about to be closed. */
    struct fuse_out_header header;
    if (atomic_load(&server->open) && answer_peek(s->told, &header, MSG_DONTWAIT) < 0 && told_holds(s->told))
        return 1;
    session_end(s);
    s->state = -1;
    return 0;
}

void session_end(struct session *s) {
    struct server *server = s->state > 0 ? told_server(s->told) : NULL;
    s->state = 0;
    if (!server)
        return;
    listener_asks(s->listener, 0);
    atomic_store(&server->busy, 0);
    atomic_store(&server->here, 0);
    pthread_mutex_unlock(&server->reading);
}

static int request_send(const struct session *s, const struct left *request, const void *body, size_t size) {
    char message[sizeof(struct fuse_in_header) + NAME_ROOM];
    struct fuse_in_header header = {.len = (uint32_t)(sizeof header + size), .opcode = request->what.opcode,
                                    .unique = request->what.unique, .nodeid = request->what.node, .uid = s->uid,
                                    .gid = s->gid, .pid = s->pid};
    memcpy(message, &header, sizeof header);
    memcpy(message + sizeof header, body, size);
    return send(told_socket(s->told), message, header.len, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)header.len;
}

/* Takes the answer if it is one: 1, or the server's -errno; 0 if it is for somebody else to read. */
static int answer_take(const struct session *s, uint64_t unique, void *answer, size_t size, size_t *got) {
    struct fuse_out_header *header = answer;
    ssize_t n = answer_peek(s->told, header, 0);
    if (n < (ssize_t)sizeof *header || header->unique != unique || header->len != (size_t)n)
        return 0;
    if (header->error ? (size_t)n != sizeof *header || header->error < -ERRNO_MOST || header->error > 0
                      : (got ? (size_t)n > size : (size_t)n != size))
        return 0;
    recv(told_socket(s->told), answer, size, MSG_DONTWAIT);
    if (got)
        *got = (size_t)n;
    return header->error ? header->error : 1;
}

/* `mark` is from before the question. */
int session_ask(struct session *s, struct left *request, const void *body, size_t size, void *answer, size_t room,
                size_t *got) {
    struct server *server = told_server(s->told);
    if (!request->what.node || !session_begin(s))
        return 0;
    request->what.unique = unique_next(server);
    request->mark = atomic_load(&server->changes);
    request->what.tid = (pid_t)syscall(SYS_gettid);
    atomic_store(&server->busy, request->what.node);
    int result = 0;
    /* Who forgets a node takes it away first, and waits for what is asked of it then. */
    if (dio_told_latest(s->told, request->what.node) && atomic_load(&server->left_count) < LEFT &&
        request_send(s, request, body, size)) {
        result = answer_take(s, request->what.unique, answer, room, got);
        if (!result)
            leave(server, request);
    } else {
        request->what.unique = 0;
    }
    if (!result) {
        session_end(s);
        s->state = -1;
    }
    return result;
}

int64_t dio_told_exchange(struct dio_told *told, const void *message, size_t size, void *answer, size_t room) {
    struct server *server = told_server(told);
    const struct fuse_in_header *request = message;
    struct fuse_out_header header;
    int64_t result = -EBUSY;
    if (reading_begin(server, TURN_NS))
        return -EBUSY;
    atomic_store(&server->here, 1);
    atomic_fetch_add(&server->asked, 1);
    dio_told_disturb(told);
    if (atomic_load(&server->open) &&
        send(told_socket(told), message, size, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)size) {
        ssize_t n = answer_peek(told, &header, 0);
        int is_ours = n >= (ssize_t)sizeof header && header.unique == request->unique && header.len == (size_t)n;
        result = is_ours && (size_t)n <= room ? recv(told_socket(told), answer, room, MSG_DONTWAIT) : 0;
    }
    atomic_store(&server->here, 0);
    pthread_mutex_unlock(&server->reading);
    return result;
}

/* ---- what is told ---- */

static int64_t until(uint64_t seconds, uint32_t nanoseconds) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (!seconds && !nanoseconds)
        return 0;
    if (seconds > UINT32_MAX)
        return INT64_MAX;
    return (now.tv_sec + (int64_t)seconds) * NSEC + now.tv_nsec + nanoseconds;
}

static int64_t moment(uint64_t seconds, uint32_t nanoseconds) {
    return (int64_t)(seconds * (uint64_t)NSEC + nanoseconds); /* seconds are signed, although the header says not */
}

/* As the kernel has it: a file is of some type, and no larger than a file can be. Else Python says what is wrong. */
static int is_possible(const struct fuse_attr *attr) {
    switch (attr->mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFLNK:
    case S_IFCHR:
    case S_IFBLK:
    case S_IFIFO:
    case S_IFSOCK: return attr->size <= INT64_MAX;
    default: return 0;
    }
}

static struct dio_told_node node_of(const struct server *server, uint64_t inode, const struct fuse_attr *attr) {
    struct dio_told_node node = {.inode = inode, .number = attr->ino, .size = attr->size, .blocks = attr->blocks,
                                 .mode = attr->mode, .links = attr->nlink, .uid = attr->uid,
                                 .gid = attr->gid, .unchecked = (uint8_t)server->unchecked};
    node.accessed = moment(attr->atime, attr->atimensec);
    node.modified = moment(attr->mtime, attr->mtimensec);
    node.changed = moment(attr->ctime, attr->ctimensec);
    if (S_ISCHR(attr->mode) || S_ISBLK(attr->mode))
        node.device = attr->rdev;
    if (S_ISDIR(attr->mode) && !attr->size)
        node.size = BLOCK;
    if (!S_ISDIR(attr->mode) && !S_ISREG(attr->mode))
        node.blocks = 0;
    return node;
}

int session_node(struct session *s, uint64_t inode, struct dio_told_node *out) {
    struct left request = {.what = {.opcode = FUSE_GETATTR}};
    const struct fuse_getattr_in body = {0};
    struct attr_answer answer;
    request.what.node = dio_told_number(s->told, inode);
    if (session_ask(s, &request, &body, sizeof body, &answer, sizeof answer, NULL) <= 0)
        return 0;
    if (!is_possible(&answer.attr.attr))
        return 0;
    *out = node_of(told_server(s->told), inode, &answer.attr.attr);
    nodes_show(told_server(s->told), inode, answer.attr.attr.ino);
    told_store_node(s->told, out, until(answer.attr.attr_valid, answer.attr.attr_valid_nsec), request.mark);
    return 1;
}

int told_entered(struct dio_told *told, const struct entering *at, const void *found, struct dio_told_node *out) {
    struct server *server = told_server(told);
    const struct fuse_entry_out *entry = found;
    int64_t name_until = until(entry->entry_valid, entry->entry_valid_nsec);
    int64_t node_until = until(entry->attr_valid, entry->attr_valid_nsec);
    uint64_t inode = 0;
    if (entry->nodeid) {
        pthread_mutex_lock(&server->lock);
        inode = nodes_enter(&server->nodes, entry->nodeid, entry->generation, 1);
        if (S_ISDIR(entry->attr.mode))
            nodes_found(server, inode, at->directory, at->name, at->length);
        pthread_mutex_unlock(&server->lock);
        if (!inode || !is_possible(&entry->attr))
            return 0;
    }
    *out = node_of(server, inode, &entry->attr);
    if (inode)
        nodes_show(server, inode, entry->attr.ino);
    atomic_store(&server->keeps, name_until && (node_until || !inode));
    told_store_name(told, at->directory, at->name, at->length, inode, name_until, at->mark);
    if (!inode || !node_until)
        return inode ? 1 : 2;
    told_store_node(told, out, node_until, at->mark);
    return 2;
}

int session_name(struct session *s, uint64_t directory, const char *name, size_t length, struct dio_told_node *out) {
    struct left request = {.what = {.opcode = FUSE_LOOKUP}};
    struct entry_answer answer;
    request.what.node = dio_told_number(s->told, directory);
    if (length >= NAME_ROOM)
        return 0;
    memcpy(request.name, name, length);
    int result = session_ask(s, &request, request.name, length + 1, &answer, sizeof answer, NULL);
    if (result == -ENOENT) {
        told_store_name(s->told, directory, name, length, 0, 0, request.mark);
        *out = (struct dio_told_node){0};
        return 2;
    }
    const struct entering at = {.directory = directory, .name = name, .length = length, .mark = request.mark};
    return result > 0 ? told_entered(s->told, &at, &answer.entry, out) : 0;
}
