/* listing.h - listings of directories of FUSE servers: what is kept of them (listing.c), and how they are asked for
 * (fusedir.c). */
#ifndef DIORAMA_LISTING_H
#define DIORAMA_LISTING_H

#include "told.h"

/* An entry as getdents64(2) gives it; the name ends with a zero byte, and the next entry is at a multiple of 8. */
struct record {
    uint64_t inode;
    int64_t offset;
    uint16_t length;
    uint8_t type;
    char name[];
};
enum { RECORD_NAME = 19, RECORD_ALIGN = 8 };

/* Records, one after the other. */
struct records {
    char *data;
    uint32_t *starts;
    size_t size, room, count, most;
};

/* A directory.  `now` is what was listed last, in the order of its offsets once it is complete, and `old` what was there
 * before, by whose names the offsets are known: of that `cursor` entries have come, in their order, and with `is_mixed`
 * others in another.  With `is_open` it is being read by a handle, from `at` on, by the process `tgid`. */
struct listing {
    struct listing *next;
    uint64_t inode, node, at, used;
    struct handle handle;
    struct records now, old;
    uint32_t *index; /* of `old` by the hash of the name, from 1 on; 0: free */
    uint8_t *came;   /* with `index`: which have come */
    size_t index_size, cursor;
    int64_t next_offset;
    int64_t dropped; /* of one that is too large: up to this offset nothing is kept any more (listinglarge.c); else 0 */
    pid_t tgid;
    uint8_t is_complete, is_open, is_new, is_mixed, is_taken, is_gone;
    atomic_uchar is_stale; /* names were made or removed since */
};

enum { FIRST_OFFSET = 3 /* behind `.` and `..` */ };

static inline struct record *record_at(const struct records *r, size_t number) {
    return (struct record *)(void *)(r->data + r->starts[number]);
}

int listings_init(struct server *server);
void listings_free(struct server *server);
/* The listing of a directory, which is the caller's until it is put back; one with nothing in it if there is none, or NULL
 * if it is taken, or without memory. */
struct listing *listing_take(struct dio_told *told, uint64_t inode);
void listing_put(struct dio_told *told, struct listing *l);
/* Begins anew: what was there keeps its offset. */
void listing_restart(struct dio_told *told, struct listing *l);
/* One more entry, in the order of the server: 0 or -ENOMEM. */
int listing_add(struct listing *l, uint64_t inode, uint8_t type, const char *name, size_t length);
/* There are no more. */
int listing_finish(struct dio_told *told, struct listing *l);
/* Bounds what is kept of it, for who has come to a position and reads on. */
void listing_bound(struct listing *l, int64_t position);
/* The names that were there before are not known any more. */
void listing_forget(struct listing *l);
/* The number of the first record behind a position. */
size_t listing_behind(const struct listing *l, int64_t position);
/* Whether all up to the last entry that has come is known by now. */
int listing_is_straight(const struct listing *l);
/* The server has opened it. */
void listing_opened(struct dio_told *told, struct listing *l, const struct handle *handle, pid_t tgid);
/* How many bytes of records from that on are whole in `room`; `last` is the offset of the last. */
size_t listing_fitting(const struct listing *l, size_t first, size_t room, int64_t *last);
/* The handle is not needed any more. */
void listing_close(struct dio_told *told, struct listing *l);
/* A directory is forgotten. */
void listing_drop(struct dio_told *told, uint64_t inode);
/* Somebody has closed a directory, or with inode 0 a process is gone: if it was being read, it is not any more. */
void listing_leave(struct dio_told *told, uint64_t inode, pid_t tid);

#endif
