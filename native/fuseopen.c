/* fuseopen.c - a FUSE server opens a file, is asked for its content, and told that it is closed, without the interpreter.
 *
 * A handle that the server has given for a call which Python goes on with is *given* to the thread that has asked: it
 * asks for the same, and takes it.  What it does not take is released when it asks for something here again. */
#include "told.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

struct open_answer {
    struct fuse_out_header header;
    struct fuse_open_out opened;
};

struct release_request {
    struct fuse_in_header header;
    struct fuse_release_in release;
};

struct forget_request {
    struct fuse_in_header header;
    struct fuse_forget_in forget;
};

int session_open(struct session *s, uint64_t node, uint32_t flags, struct handle *out) {
    struct left request = {.what = {.node = node, .flags = flags}};
    const struct fuse_open_in body = {.flags = flags};
    struct open_answer answer;
    request.what.opcode = flags & O_DIRECTORY ? FUSE_OPENDIR : FUSE_OPEN;
    snprintf(request.name, sizeof request.name, "%u", flags);
    int result = session_ask(s, &request, &body, sizeof body, &answer, sizeof answer, NULL);
    if (result > 0)
        *out = (struct handle){.number = answer.opened.fh, .flags = flags, .how = answer.opened.open_flags};
    return result;
}

ssize_t session_read(struct session *s, uint64_t node, const struct handle *handle, uint64_t offset, uint32_t size,
                     void *answer) {
    struct left request = {.what = {.opcode = FUSE_READ, .node = node}};
    const struct fuse_read_in body = {.fh = handle->number, .offset = offset, .size = size};
    size_t got = 0;
    if (session_ask(s, &request, &body, sizeof body, answer, READ_HEAD + size, &got) <= 0)
        return -1;
    return (ssize_t)(got - READ_HEAD);
}

int server_release(struct dio_told *told, uint64_t node, const struct handle *handle) {
    struct server *server = told_server(told);
    uint32_t opcode = handle->flags & O_DIRECTORY ? FUSE_RELEASEDIR : FUSE_RELEASE;
    uint64_t unique = dio_told_post(told, opcode, node);
    if (!unique)
        return -EAGAIN;
    const struct release_request request = {
        .header = {.len = sizeof request, .opcode = opcode, .unique = unique, .nodeid = node},
        .release = {.fh = handle->number, .flags = handle->flags},
    };
    struct dio_left left;
    pthread_mutex_lock(&server->sending); /* nobody closes the socket meanwhile */
    int is_open = atomic_load(&server->open);
    int is_sent = is_open && send(told_socket(told), &request, sizeof request, MSG_DONTWAIT | MSG_NOSIGNAL) ==
                                 (ssize_t)sizeof request;
    pthread_mutex_unlock(&server->sending);
    if (!is_sent)
        dio_told_find_left(told, unique, &left);
    return is_open && !is_sent ? -EAGAIN : 0;
}

void server_forget(struct dio_told *told, uint64_t number, uint64_t generation) {
    struct server *server = told_server(told);
    const struct forget_request request = {
        .header = {.len = sizeof request, .opcode = FUSE_FORGET, .unique = atomic_fetch_add(&server->unique, 2),
                   .nodeid = number},
        .forget = {.nlookup = 1},
    };
    if (number <= FUSE_ROOT_ID)
        return;
    pthread_mutex_lock(&server->sending);
    int is_sent = atomic_load(&server->open) &&
                  send(told_socket(told), &request, sizeof request, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof request;
    pthread_mutex_unlock(&server->sending);
    if (is_sent)
        return;
    pthread_mutex_lock(&server->lock);
    nodes_enter(&server->nodes, number, generation, 1);
    pthread_mutex_unlock(&server->lock);
}

/* ---- handles that are given ---- */

/* What is for nobody, or cannot be noted, is released. */
static void give(struct dio_told *told, pid_t tid, uint64_t node, const struct handle *handle) {
    struct server *server = told_server(told);
    int is_given = 0;
    pthread_mutex_lock(&server->lock);
    for (int i = 0; tid && i < LEFT && !is_given; i++)
        if (!server->given[i].tid) {
            server->given[i] = (struct given){.tid = tid, .node = node, .handle = *handle};
            atomic_fetch_add(&server->given_count, 1);
            is_given = 1;
        }
    pthread_mutex_unlock(&server->lock);
    if (!is_given)
        server_release(told, node, handle);
}

void server_give(struct dio_told *told, uint64_t node, const struct handle *handle) {
    give(told, (pid_t)syscall(SYS_gettid), node, handle);
}

void dio_told_give(struct dio_told *told, const struct dio_left *asked, uint64_t handle, uint32_t how) {
    const struct handle given = {.number = handle, .flags = asked->flags, .how = how};
    give(told, asked->tid, asked->node, &given);
}

static int is_thread(pid_t tid) { return !syscall(SYS_tgkill, getpid(), tid, 0); }

/* The first that was given to this thread for a node that is opened like this; with node 0 any, also of who is gone. */
static int given_take(struct server *server, uint64_t node, uint32_t flags, struct given *out) {
    pid_t tid = (pid_t)syscall(SYS_gettid);
    int found = 0;
    if (!atomic_load(&server->given_count))
        return 0;
    pthread_mutex_lock(&server->lock);
    for (int i = 0; i < LEFT && !found; i++) {
        struct given *given = &server->given[i];
        int is_wanted = node ? given->node == node && given->handle.flags == flags : given->tid != 0;
        if (!is_wanted || (given->tid != tid && (node || is_thread(given->tid))))
            continue;
        *out = *given;
        given->tid = 0;
        atomic_fetch_sub(&server->given_count, 1);
        found = 1;
    }
    pthread_mutex_unlock(&server->lock);
    return found;
}

int dio_told_given(struct dio_told *told, uint64_t node, uint32_t flags, uint64_t *handle, uint32_t *how) {
    struct given given;
    if (!node || !given_take(told_server(told), node, flags, &given))
        return 0;
    *handle = given.handle.number;
    *how = given.handle.how;
    return 1;
}

void given_release(struct dio_told *told) {
    struct given given;
    while (given_take(told_server(told), 0, 0, &given))
        if (server_release(told, given.node, &given.handle)) {
            server_give(told, given.node, &given.handle);
            return;
        }
}
