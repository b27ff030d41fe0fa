/* fuselook.c - a FUSE server is asked for names and attributes, and opens files, for calls that Python decides about.
 *
 * What this thread has left, or was given, is for Python to take: then it asks by itself. */
#include "told.h"

static int may_look(struct dio_told *told) {
    struct server *server = told_server(told);
    return !atomic_load(&server->left_count) && !atomic_load(&server->given_count);
}

int dio_told_ask_node(struct dio_told *told, pid_t tid, uint64_t inode, struct dio_told_node *out) {
    const struct dio_asked asked = {.tid = tid};
    struct session s = {.told = told, .asked = &asked};
    int result = may_look(told) ? session_node(&s, inode, out) : 0;
    session_end(&s);
    return result;
}

int dio_told_ask_name(struct dio_told *told, pid_t tid, uint64_t directory, const char *name, size_t length,
                      struct dio_told_node *out) {
    const struct dio_asked asked = {.tid = tid};
    struct session s = {.told = told, .asked = &asked};
    int result = may_look(told) ? session_name(&s, directory, name, length, out) : 0;
    session_end(&s);
    return result;
}

int dio_told_ask_open(struct dio_told *told, pid_t tid, uint64_t inode, uint32_t flags, uint64_t *handle,
                      uint32_t *how) {
    const struct dio_asked asked = {.tid = tid};
    struct session s = {.told = told, .asked = &asked};
    struct handle found = {0};
    int result = may_look(told) ? session_open(&s, dio_told_number(told, inode), flags, &found) : 0;
    session_end(&s);
    *handle = found.number;
    *how = found.how;
    return result;
}
