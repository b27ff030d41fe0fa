/* test_told.c - what was told is found as long as it holds, also while others tell. */
#include "../told.h"
#include "check.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MANY = 300000, DIRECTORIES = 7 };

static struct dio_told *told;
static int ends[2];

static void tell_name(uint64_t directory, const char *name, uint64_t inode, int64_t until) {
    dio_told_name(told, directory, name, strlen(name), inode, until);
}

static void tell_node(uint64_t inode, uint64_t size, int64_t until) {
    struct dio_told_node node = {.inode = inode, .size = size};
    dio_told_node(told, &node, until);
}

/* The inode of a name, -1 if that is not known. */
static int64_t name_of(uint64_t directory, const char *name) {
    uint64_t inode;
    return told_name(told, directory, name, strlen(name), &inode) ? (int64_t)inode : -1;
}

static int64_t size_of(uint64_t inode) {
    struct dio_told_node node;
    return told_node(told, inode, &node) ? (int64_t)node.size : -1;
}

static void check_names(void) {
    tell_name(1, "a", 5, INT64_MAX);
    tell_name(1, "none", 0, INT64_MAX);
    tell_name(2, "a", 6, INT64_MAX);
    CHECK_EQ(name_of(1, "a"), 5);
    CHECK_EQ(name_of(2, "a"), 6);
    CHECK_EQ(name_of(1, "none"), 0);
    CHECK_EQ(name_of(1, "b"), -1);
    tell_name(1, "a", 7, INT64_MAX);
    CHECK_EQ(name_of(1, "a"), 7);
    tell_name(1, "a", 7, 1); /* long ago */
    CHECK_EQ(name_of(1, "a"), -1);
    tell_name(2, "a", 0, 0);
    CHECK_EQ(name_of(2, "a"), -1);
}

static void check_nodes(void) {
    tell_node(1, 10, INT64_MAX);
    tell_node(2, 20, INT64_MAX);
    CHECK_EQ(size_of(1), 10);
    CHECK_EQ(dio_told_differs(told, 1, 1), 0);
    tell_node(1, 11, INT64_MAX);
    CHECK_EQ(size_of(1), -1);
    CHECK_EQ(size_of(2), 20);
    CHECK_EQ(dio_told_differs(told, 1, 0), 0);
    CHECK_EQ(size_of(1), 11);
    tell_node(1, 0, 0);
    CHECK_EQ(size_of(1), -1);
}

static void check_names_of_one(void) {
    tell_name(7, "a", 70, INT64_MAX);
    tell_name(8, "b", 70, INT64_MAX);
    tell_name(7, "c", 71, INT64_MAX);
    tell_node(70, 5, INT64_MAX);
    dio_told_drop_all(told, 70);
    CHECK_EQ(name_of(7, "a"), -1);
    CHECK_EQ(name_of(8, "b"), -1);
    CHECK_EQ(name_of(7, "c"), 71);
    dio_told_drop_all(told, 0);
    CHECK_EQ(name_of(7, "c"), -1);
    CHECK_EQ(size_of(70), 5);
}

/* More than is kept: something is dropped, and nothing is wrong. */
static void check_many(void) {
    char name[32];
    int kept = 0;
    for (uint64_t i = 1; i <= MANY; i++) {
        snprintf(name, sizeof name, "name%lu", (unsigned long)i);
        tell_name(i % DIRECTORIES + 1, name, i, INT64_MAX);
    }
    for (uint64_t i = 1; i <= MANY; i++) {
        snprintf(name, sizeof name, "name%lu", (unsigned long)i);
        int64_t found = name_of(i % DIRECTORIES + 1, name);
        CHECK_EQ(found == -1 || found == (int64_t)i, 1);
        kept += found != -1;
    }
    CHECK_EQ(kept > 0 && kept < MANY, 1);
    CHECK_EQ(name_of(MANY % DIRECTORIES + 1, name), MANY);
}

static void *tell_often(void *unused) {
    for (uint64_t i = 0; i < 20000; i++) {
        tell_node(i % 50, i % 50, i % 3 ? INT64_MAX : 0);
        tell_name(1, i % 2 ? "x" : "y", i % 2 + 1, i % 5 ? INT64_MAX : 0);
    }
    return unused;
}

static void check_threads(void) {
    pthread_t threads[2];
    int wrong = 0;
    for (int i = 0; i < 2; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, tell_often, NULL), 0);
    for (uint64_t i = 0; i < 20000; i++) {
        int64_t size = size_of(i % 50), inode = name_of(1, "x");
        wrong += (size != -1 && size != (int64_t)(i % 50)) || (inode != -1 && inode != 2);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQ(wrong, 0);
}

static int takes_after;

/* In the place of the C library's: somebody else gets the CPU, and takes what has come for him when it is his turn. */
int sched_yield(void) {
    char byte;
    if (takes_after && !--takes_after)
        CHECK_EQ(recv(ends[0], &byte, 1, 0), 1);
    return 0;
}

/* What has come for somebody who reads here says nothing as soon as he has taken it. */
static void check_answers(void) {
    struct server *server = told_server(told);
    char byte = 0;
    CHECK_EQ(send(ends[1], &byte, 1, 0), 1);
    takes_after = 3;
    CHECK_EQ(told_holds_soon(told), 0); /* nobody reads here, so it is for Python */
    CHECK_EQ(takes_after, 3);
    atomic_store(&server->here, 1);
    CHECK_EQ(told_holds_soon(told), 1);
    CHECK_EQ(send(ends[1], &byte, 1, 0), 1);
    CHECK_EQ(told_holds_soon(told), 0); /* he does not come */
    CHECK_EQ(recv(ends[0], &byte, 1, 0), 1);
    atomic_store(&server->here, 0);
}

static void check_silence(void) {
    char byte = 0;
    CHECK_EQ(told_holds(told), 1);
    dio_told_silence(told, 0);
    CHECK_EQ(told_holds(told), 0);
    dio_told_silence(told, 1);
    CHECK_EQ(told_holds(told), 1);
    CHECK_EQ(send(ends[1], &byte, 1, 0), 1);
    CHECK_EQ(told_holds(told), 0);
    CHECK_EQ(recv(ends[0], &byte, 1, 0), 1);
    CHECK_EQ(told_holds(told), 1);
    close(ends[1]);
    CHECK_EQ(told_holds(told), 0);
    tell_node(3, 30, INT64_MAX);
    CHECK_EQ(size_of(3), 30);
    dio_told_end(told);
    CHECK_EQ(size_of(3), -1);
    tell_node(3, 30, INT64_MAX);
    CHECK_EQ(size_of(3), -1);
    CHECK_EQ(told_holds(told), 0);
}

int main(void) {
    CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
    CHECK_EQ(dio_told_new(ends[0], 0, &told), 0);
    check_names();
    check_nodes();
    check_names_of_one();
    check_many();
    check_threads();
    check_answers();
    check_silence();
    CHECK_EQ(told_take(told) == told, 1);
    dio_told_free(told);
    dio_told_free(told);
    close(ends[0]);
    return checks_report("told");
}
