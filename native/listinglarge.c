/* listinglarge.c - listings that are too large to be kept, perhaps without end.
 *
 * From the kernel each program gets what its server tells, a piece at a time, for ever if need be.  So what it is told of
 * such a directory is dropped when it has gone on.  Names then have the offsets of the order in which the server tells them:
 * who goes back behind what is kept has it read anew, and finds the same there as long as nothing has changed. */
#include "listing.h"

#include <stdlib.h>

enum { MOST_KEPT = 64 << 20 };

/* How many of the records have offsets up to a position; they may be in another order. */
static size_t count_told(const struct listing *l, int64_t position) {
    size_t count = 0;
    for (size_t i = 0; i < l->now.count; i++)
        count += record_at(&l->now, i)->offset <= position;
    return count;
}

/* Reads it from the start without regard to what was there before; who is at a position gets what he was not told. */
static void recount(struct listing *l, int64_t position) {
    int64_t told = (int64_t)count_told(l, position);
    listing_forget(l);
    l->now.size = l->now.count = 0;
    l->at = 0;
    l->next_offset = position - told + 1 > FIRST_OFFSET ? position - told + 1 : FIRST_OFFSET;
    l->dropped = l->next_offset - 1;
}

/* Half of what may be kept stays for those who are not so far. */
static void front_drop(struct listing *l, int64_t position) {
    size_t told = listing_behind(l, position), first = 0;
    while (first < told && l->now.size - l->now.starts[first] > MOST_KEPT / 2)
        first++;
    if (!first)
        return;
    uint32_t gone = first < l->now.count ? l->now.starts[first] : (uint32_t)l->now.size;
    l->dropped = record_at(&l->now, first - 1)->offset;
    l->now.size -= gone;
    l->now.count -= first;
    memmove(l->now.data, l->now.data + gone, l->now.size);
    for (size_t i = 0; i < l->now.count; i++)
        l->now.starts[i] = l->now.starts[i + first] - gone;
    listing_forget(l);
}

void listing_bound(struct listing *l, int64_t position) {
    if (l->now.size <= MOST_KEPT)
        return;
    if (listing_is_straight(l))
        front_drop(l, position);
    else
        recount(l, position);
}
