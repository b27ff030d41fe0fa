/* test_fusenodes.c - nodes and inodes: one for each, the latest of a number, counts of references. */
#include "../told.h"
#include "check.h"

#include <sys/socket.h>
#include <unistd.h>

enum { MANY = 5000 };

static struct dio_told *told;

static void check_root(void) {
    CHECK_EQ(dio_told_number(told, 1), 1);
    CHECK_EQ(dio_told_enter(told, 1, 0), 1);
    CHECK_EQ(dio_told_latest(told, 1), 1);
    CHECK_EQ(dio_told_number(told, 2), 0);
    CHECK_EQ(dio_told_latest(told, 77), 0);
}

/* The server uses a number again: it is another file. */
static void check_generations(void) {
    uint64_t first = dio_told_enter(told, 7, 1), second = dio_told_enter(told, 7, 2);
    CHECK_EQ(first == second, 0);
    CHECK_EQ(dio_told_enter(told, 7, 1), first);
    CHECK_EQ(dio_told_latest(told, 7), second);
    CHECK_EQ(dio_told_leave(told, second), 1);
    CHECK_EQ(dio_told_latest(told, 7), first);
    CHECK_EQ(dio_told_enter(told, 7, 2) > second, 1);
    CHECK_EQ(dio_told_leave(told, first), 2);
    CHECK_EQ(dio_told_leave(told, 99), 0);
}

static void check_many(void) {
    static uint64_t inodes[MANY], later[MANY];
    struct nodes *nodes = &told_server(told)->nodes;
    int wrong = 0;
    for (uint64_t i = 0; i < MANY; i++)
        inodes[i] = nodes_enter(nodes, 1000 + i, 0, i % 3);
    for (uint64_t i = 0; i < MANY; i++)
        later[i] = nodes_enter(nodes, 1000 + i, 1, 0);
    for (uint64_t i = 0; i < MANY; i++) {
        wrong += dio_told_number(told, inodes[i]) != 1000 + i || dio_told_number(told, later[i]) != 1000 + i;
        wrong += dio_told_enter(told, 1000 + i, 0) != inodes[i] || dio_told_latest(told, 1000 + i) != later[i];
    }
    for (uint64_t i = 0; i < MANY; i += 2)
        wrong += dio_told_leave(told, inodes[i]) != i % 3 + 1 || dio_told_number(told, inodes[i]) != 0;
    for (uint64_t i = 1; i < MANY; i += 2)
        wrong += dio_told_number(told, inodes[i]) != 1000 + i || dio_told_latest(told, 1000 + i) != later[i];
    CHECK_EQ(wrong, 0);
}

/* A directory that the server itself has moved. */
static void check_moved(void) {
    uint64_t inode = dio_told_enter(told, 500, 0), before = dio_told_moved(told);
    dio_told_found(told, inode, 1, "a", 1);
    dio_told_found(told, inode, 1, "a", 1);
    dio_told_found(told, 99999, 1, "b", 1);
    CHECK_EQ(dio_told_moved(told), before);
    dio_told_found(told, inode, 1, "b", 1);
    CHECK_EQ(dio_told_moved(told), before + 1);
    dio_told_found(told, inode, 2, "b", 1);
    CHECK_EQ(dio_told_moved(told), before + 2);
}

int main(void) {
    int ends[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
    CHECK_EQ(dio_told_new(ends[0], 0, &told), 0);
    check_root();
    check_generations();
    check_many();
    check_moved();
    dio_told_free(told);
    close(ends[0]);
    close(ends[1]);
    return checks_report("fusenodes");
}
