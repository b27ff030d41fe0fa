/* test_listing.c - each name that stays comes exactly once, whoever lists a directory meanwhile. */
#include "../listing.h"
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ROOM = 1 << 16, MANY = 3000, ROUNDS = 300, ENDLESS = 700000 };

static struct dio_told *told;

static struct record *record_of(char *at) { return (struct record *)(void *)at; }

/* Leaves names that stand one after the other, with a blank behind each, and tells what is behind a position so. */
static const char *list(const char *names, int64_t position) {
    static char said[ROOM];
    _Alignas(8) char data[1024], out[1024];
    size_t size = 0, used = 0;
    for (const char *end; (end = strchr(names, ' ')); names = end + 1) {
        const struct dio_listed_name head = {.inode = 5, .length = (uint16_t)(end - names), .type = 8};
        memcpy(data + size, &head, sizeof head);
        memcpy(data + size + sizeof head, names, head.length);
        size += sizeof head + head.length;
    }
    int64_t n = dio_told_list(told, 1, dio_told_list_mark(told), data, size, position, out, sizeof out);
    said[0] = 0;
    for (int64_t at = 0; at < n; at += record_of(out + at)->length)
        used += (size_t)snprintf(said + used, ROOM - used, "%s%d ", record_of(out + at)->name,
                                 (int)record_of(out + at)->offset);
    return said;
}

static int64_t listed(uint64_t inode, int64_t position, size_t room) {
    static char out[ROOM];
    return dio_told_listed(told, inode, position, out, room);
}

static void check_offsets(void) {
    CHECK_EQ(listed(1, 0, ROOM), -ENOENT);
    CHECK_EQ(strcmp(list("a b c ", 0), "a3 b4 c5 "), 0);
    CHECK_EQ(strcmp(list("a b c ", 3), "b4 c5 "), 0);
    CHECK_EQ(strcmp(list("new c a ", 0), "a3 c5 new6 "), 0);
    CHECK_EQ(strcmp(list("new c a b ", 5), "new6 b7 "), 0); /* it is another by now */
    CHECK_EQ(strcmp(list("", 0), ""), 0);
    CHECK_EQ(strcmp(list("a ", 0), "a8 "), 0);
    CHECK_EQ(listed(1, 0, ROOM), 24);
    CHECK_EQ(listed(1, 0, 23), 0);
    CHECK_EQ(listed(1, 8, ROOM), 0);
    dio_told_list_changed(told, 2);
    CHECK_EQ(listed(1, 0, ROOM), 24);
    dio_told_list_changed(told, 1);
    CHECK_EQ(listed(1, 0, ROOM), -ENOENT);
}

/* Two go on in what they share. */
static void check_moving(void) {
    int fd = memfd_create("directory", MFD_CLOEXEC);
    CHECK_EQ(dio_told_list_moved(told, fd, 0, 7), 1);
    CHECK_EQ(dio_told_list_moved(told, fd, 0, 9), 0);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 7);
    CHECK_EQ(dio_told_list_moved(told, fd, 7, 9), 1);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 9);
    close(fd);
}

/* Somebody begins anew while another has read a part. */
static void check_parts(void) {
    listing_drop(told, 1);
    struct listing *l = listing_take(told, 1);
    CHECK_EQ(listing_take(told, 1) == NULL, 1);
    listing_restart(told, l);
    CHECK_EQ(listing_add(l, 1, 8, "a", 1), 0);
    CHECK_EQ(listing_add(l, 1, 8, "b", 1), 0);
    CHECK_EQ(listing_is_straight(l), 1);
    listing_put(told, l);
    CHECK_EQ(listed(1, 0, ROOM), -ENOENT);
    CHECK_EQ(strcmp(list("a b c ", 3), "b4 c5 "), 0);
    l = listing_take(told, 1);
    listing_restart(told, l);
    CHECK_EQ(listing_add(l, 1, 8, "a", 1), 0);
    CHECK_EQ(listing_is_straight(l), 1);
    CHECK_EQ(listing_add(l, 1, 8, "d", 1), 0);
    CHECK_EQ(listing_is_straight(l), 0);
    listing_put(told, l);
    CHECK_EQ(strcmp(list("c d b ", 3), "b4 c5 d6 "), 0);
}

/* One entry after the other is told of a directory without end, and nothing is told twice or left out. */
static int64_t follow(struct listing *l, int64_t position, int number, int last, size_t *most) {
    static char name[240];
    memset(name, 'n', sizeof name);
    for (; number < last; number++) {
        snprintf(name + 200, 40, "%d", number);
        CHECK_EQ(listing_add(l, 1, 8, name, strlen(name)), 0);
        listing_bound(l, position);
        size_t first = listing_behind(l, position);
        const struct record *record = record_at(&l->now, first);
        CHECK_EQ(atoi(record->name + 200), number);
        position = record->offset;
        *most = l->now.size > *most ? l->now.size : *most;
    }
    return position;
}

static void check_endless(void) {
    size_t most = 0;
    listing_drop(told, 1);
    struct listing *l = listing_take(told, 1);
    listing_restart(told, l);
    int64_t position = follow(l, 2, 0, ENDLESS, &most);
    CHECK_EQ(position, ENDLESS + 2);
    CHECK_EQ(most <= (64 << 20) + 512, 1);
    CHECK_EQ(l->dropped > 2 && listing_behind(l, l->dropped) == 0, 1);
    /* Who begins anew gets the same offsets, and so does who goes back. */
    listing_restart(told, l);
    CHECK_EQ(follow(l, 2, 0, 1000, &most), 1002);
    listing_put(told, l);
}

/* It was known before, in another order: nothing can be told until all has come, which never is. */
static void check_endless_mixed(void) {
    size_t most = 0;
    listing_drop(told, 1);
    CHECK_EQ(strcmp(list("a b c ", 0), "a3 b4 c5 "), 0);
    CHECK_EQ(strcmp(list("c ", 0), "c5 "), 0);
    CHECK_EQ(strcmp(list("c d e ", 0), "c5 d6 e7 "), 0);
    struct listing *l = listing_take(told, 1);
    listing_restart(told, l);
    listing_opened(told, l, &(struct handle){.number = 1}, 1);
    CHECK_EQ(listing_add(l, 1, 8, "c", 1), 0); /* somebody is told so much */
    CHECK_EQ(listing_is_straight(l), 1);
    for (int i = 0; l->old.count; i++) {
        char name[200] = {[0 ... 198] = 'n'};
        snprintf(name + 180, 20, "%d", i);
        CHECK_EQ(listing_add(l, 1, 8, name, strlen(name)), 0);
        listing_bound(l, 5);
    }
    CHECK_EQ(l->at + l->now.count, 0);
    CHECK_EQ(listing_add(l, 1, 8, "c", 1), 0); /* it is read from its start */
    CHECK_EQ(listing_behind(l, 5), 1);
    CHECK_EQ(follow(l, 5, 0, 1000, &most), 1005);
    listing_put(told, l);
}

/* Nobody has read on, and names came in another order. */
static void check_broken(void) {
    listing_drop(told, 1);
    CHECK_EQ(strcmp(list("a b c d e ", 0), "a3 b4 c5 d6 e7 "), 0);
    struct listing *l = listing_take(told, 1);
    listing_restart(told, l);
    CHECK_EQ(listing_add(l, 1, 8, "new", 3), 0);
    CHECK_EQ(listing_add(l, 1, 8, "d", 1), 0);
    CHECK_EQ(listing_add(l, 1, 8, "b", 1), 0);
    listing_put(told, l);
    CHECK_EQ(strcmp(list("e d c b a new ", 4), "c5 d6 e7 new8 "), 0);
}

/* A program lists in pieces what is changed, and listed from the start, between them. */
static void check_changing(void) {
    static char name[16], has[MANY], stays[MANY], seen[MANY];
    int wrong = 0;
    for (int round = 0; round < ROUNDS; round++) {
        int64_t position = 2, last = -1;
        int count = 20;
        listing_drop(told, 7);
        for (int i = 0; i < count; i++)
            has[i] = stays[i] = 1, seen[i] = 0;
        while (last != position) {
            struct listing *l = listing_take(told, 7);
            listing_restart(told, l);
            for (int i = count, from = rand() % count; i-- > 0;) {
                if (has[(i + from) % count])
                    wrong += listing_add(l, 9, 4, name, (size_t)snprintf(name, sizeof name, "%d", (i + from) % count)) != 0;
            }
            wrong += listing_finish(told, l) != 0;
            last = position;
            size_t first = listing_behind(l, position), size = listing_fitting(l, first, 24 * (size_t)(1 + rand() % 4), &position);
            for (size_t at = 0; at < size; at += 24)
                seen[atoi(record_of(l->now.data + l->now.starts[first] + at)->name)]++;
            listing_put(told, l);
            int gone = rand() % count;
            has[gone] = stays[gone] = 0;
            if (count < 40)
                has[count] = 1, stays[count] = 0, seen[count] = 0, count++;
        }
        for (int i = 0; i < count; i++)
            wrong += seen[i] > 1 || (stays[i] && !seen[i]);
    }
    CHECK_EQ(wrong, 0);
}

static void check_many(void) {
    _Alignas(8) static char data[64 * MANY];
    static char out[ROOM], name[16];
    size_t size = 0, found = 0;
    for (int i = 0; i < MANY; i++) {
        struct dio_listed_name head = {.inode = 5, .type = 8};
        head.length = (uint16_t)snprintf(name, sizeof name, "%d", i);
        memcpy(data + size, &head, sizeof head);
        memcpy(data + size + sizeof head, name, head.length);
        size += sizeof head + head.length;
    }
    for (uint64_t inode = 10; inode < 400; inode++) /* more than are kept */
        CHECK_EQ(dio_told_list(told, inode, dio_told_list_mark(told), data, inode == 399 ? size : 64, 0, out, ROOM) > 0, 1);
    CHECK_EQ(listed(10, 0, ROOM), -ENOENT);
    int64_t position = 0, n;
    while ((n = dio_told_listed(told, 399, position, out, ROOM)) > 0)
        for (int64_t at = 0; at < n; at += record_of(out + at)->length, found++)
            position = record_of(out + at)->offset;
    CHECK_EQ(found, MANY);
    CHECK_EQ(n, 0);
}

int main(void) {
    int ends[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    CHECK_EQ(dio_told_new(ends[0], 0, &told), 0);
    check_offsets();
    check_parts();
    check_broken();
    check_endless();
    check_endless_mixed();
    check_changing();
    check_many();
    check_moving();
    dio_told_free(told);
    close(ends[0]);
    close(ends[1]);
    return checks_report("listing");
}
