/* fusenodes.c - the nodes of a FUSE server, and the inodes that they have here.
 *
 * Two tables of the same nodes: by the server's number, the latest first, and by inode. */
#include "listing.h"

#include <stdlib.h>

enum { NODES_LEAST = 256 };

struct node {
    struct node *by_number, *by_inode;
    uint64_t number, generation, inode, references;
    uint64_t shown;       /* the number that programs see; 0: not yet told */
    uint64_t above, name; /* of a directory: by which it was found last, the name as a hash; 0: not yet */
};

static size_t place(const struct nodes *nodes, uint64_t value) {
    uint64_t hash = value * UINT64_C(0x9e3779b97f4a7c15);
    return (hash ^ hash >> 32) & nodes->mask;
}

static void put(struct nodes *nodes, struct node *node) {
    struct node **number = &nodes->numbers[place(nodes, node->number)];
    struct node **inode = &nodes->inodes[place(nodes, node->inode)];
    node->by_number = *number;
    node->by_inode = *inode;
    *number = *inode = node;
}

static int room_make(struct nodes *nodes, size_t size) {
    struct node **numbers = calloc(size, sizeof *numbers), **inodes = calloc(size, sizeof *inodes);
    if (!numbers || !inodes) {
        free(numbers);
        free(inodes);
        return -ENOMEM;
    }
    nodes->numbers = numbers;
    nodes->inodes = inodes;
    nodes->mask = size - 1;
    return 0;
}

/* In the order of inodes, so that the latest is the first again. */
static void grow(struct nodes *nodes) {
    struct nodes old = *nodes;
    struct node *kept = NULL, *next;
    if (room_make(nodes, 4 * (old.mask + 1)))
        return;
    for (size_t i = 0; i <= old.mask; i++)
        for (struct node *node = old.numbers[i]; node; node = next) {
            next = node->by_number;
            node->by_number = kept;
            kept = node;
        }
    /* What was the first of its number is behind the others now, and is put last. */
    for (; kept; kept = next) {
        next = kept->by_number;
        put(nodes, kept);
    }
    free(old.numbers);
    free(old.inodes);
}

int nodes_init(struct nodes *nodes) {
    *nodes = (struct nodes){.next = 1};
    int error = room_make(nodes, NODES_LEAST);
    if (!error && !nodes_enter(nodes, 1, 0, 0))
        error = -ENOMEM;
    return error;
}

void nodes_free(struct nodes *nodes) {
    for (size_t i = 0; nodes->numbers && i <= nodes->mask; i++)
        while (nodes->numbers[i]) {
            struct node *node = nodes->numbers[i];
            nodes->numbers[i] = node->by_number;
            free(node);
        }
    free(nodes->numbers);
    free(nodes->inodes);
}

static struct node *latest(const struct nodes *nodes, uint64_t number) {
    struct node *node = nodes->numbers[place(nodes, number)];
    while (node && node->number != number)
        node = node->by_number;
    return node;
}

static struct node *of_inode(const struct nodes *nodes, uint64_t inode) {
    struct node *node = nodes->inodes[place(nodes, inode)];
    while (node && node->inode != inode)
        node = node->by_inode;
    return node;
}

uint64_t nodes_enter(struct nodes *nodes, uint64_t number, uint64_t generation, uint64_t references) {
    struct node *node = latest(nodes, number);
    while (node && (node->number != number || node->generation != generation))
        node = node->by_number;
    if (!node) {
        if (nodes->count > nodes->mask)
            grow(nodes);
        node = calloc(1, sizeof *node);
        if (!node)
            return 0;
        *node = (struct node){.number = number, .generation = generation, .inode = nodes->next++};
        put(nodes, node);
        nodes->count++;
    }
    node->references += references;
    return node->inode;
}

uint64_t dio_told_enter(struct dio_told *told, uint64_t number, uint64_t generation) {
    struct server *server = told_server(told);
    pthread_mutex_lock(&server->lock);
    uint64_t inode = nodes_enter(&server->nodes, number, generation, 1);
    pthread_mutex_unlock(&server->lock);
    return inode;
}

void nodes_found(struct server *server, uint64_t inode, uint64_t directory, const char *name, size_t length) {
    struct node *node = of_inode(&server->nodes, inode);
    uint64_t hash = hash_add(HASH_START, name, length);
    if (!node)
        return;
    if (node->above && (node->above != directory || node->name != hash))
        atomic_fetch_add(&server->moved, 1);
    node->above = directory;
    node->name = hash;
}

void dio_told_found(struct dio_told *told, uint64_t inode, uint64_t directory, const char *name, size_t length) {
    struct server *server = told_server(told);
    pthread_mutex_lock(&server->lock);
    nodes_found(server, inode, directory, name, length);
    pthread_mutex_unlock(&server->lock);
}

uint64_t dio_told_moved(struct dio_told *told) { return atomic_load(&told_server(told)->moved); }

/* What is known of an inode: all 0 if it is forgotten. */
static struct node look(struct server *server, uint64_t inode) {
    pthread_mutex_lock(&server->lock);
    const struct node *node = of_inode(&server->nodes, inode);
    struct node found = node ? *node : (struct node){0};
    pthread_mutex_unlock(&server->lock);
    return found;
}

uint64_t dio_told_number(struct dio_told *told, uint64_t inode) { return look(told_server(told), inode).number; }

void nodes_show(struct server *server, uint64_t inode, uint64_t number) {
    pthread_mutex_lock(&server->lock);
    struct node *node = of_inode(&server->nodes, inode);
    if (node)
        node->shown = number;
    pthread_mutex_unlock(&server->lock);
}

uint64_t nodes_shown(struct server *server, uint64_t inode) { return look(server, inode).shown; }

uint64_t nodes_above(struct server *server, uint64_t inode) { return look(server, inode).above; }

uint64_t dio_told_shown(struct dio_told *told, uint64_t inode) { return nodes_shown(told_server(told), inode); }

uint64_t dio_told_above(struct dio_told *told, uint64_t inode) { return nodes_above(told_server(told), inode); }

uint64_t dio_told_latest(struct dio_told *told, uint64_t number) {
    struct server *server = told_server(told);
    pthread_mutex_lock(&server->lock);
    const struct node *node = latest(&server->nodes, number);
    uint64_t inode = node ? node->inode : 0;
    pthread_mutex_unlock(&server->lock);
    return inode;
}

uint64_t dio_told_leave(struct dio_told *told, uint64_t inode) {
    struct server *server = told_server(told);
    struct nodes *nodes = &server->nodes;
    uint64_t references = 0;
    listing_drop(told, inode);
    pthread_mutex_lock(&server->lock);
    struct node *node = of_inode(nodes, inode);
    if (node) {
        struct node **at = &nodes->numbers[place(nodes, node->number)];
        while (*at != node)
            at = &(*at)->by_number;
        *at = node->by_number;
        at = &nodes->inodes[place(nodes, inode)];
        while (*at != node)
            at = &(*at)->by_inode;
        *at = node->by_inode;
        references = node->references;
        free(node);
        nodes->count--;
    }
    pthread_mutex_unlock(&server->lock);
    return references;
}
