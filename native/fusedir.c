/* fusedir.c - a FUSE server is asked for the names in a directory, without the interpreter.
 *
 * As the kernel does: OPENDIR, READDIR or READDIRPLUS until it has no more, RELEASEDIR.  A directory is opened when
 * somebody begins to list it, and only so much is read as has room, or all where names come in another order than before
 * (listing.c).  What is wrong with an answer is EIO. */
#include "listing.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* As many pages as servers send as one message at most, who splice (vmsplice(2)) their answers. */
enum { PIECE = 32 << 10, LONGEST = 1024, DOT_SIZE = 24, DIRECTORY = S_IFDIR >> 12 };
/* Who has room for more is given no more at once; and a server tells no more pieces one after the other without a name. */
enum { MOST_GIVEN = 1 << 20, MOST_EMPTY = 1 << 12 };

enum { LISTS_NOT, LISTS, LISTS_PLUS };

struct asking {
    struct session session;
    const struct mounted *mount;
    struct listing *listing;
    char *answer; /* READ_HEAD + PIECE bytes */
    uint64_t mark;         /* from before the question */
    uint64_t seen;         /* an offset that the server has given: */
    unsigned steps, power; /* another is taken each time the number of them has doubled */
    unsigned empty;        /* so many pieces had no name in them */
};

void dio_told_lists(struct dio_told *told, int plus, int opens) {
    atomic_store(&told_server(told)->lists, plus ? LISTS_PLUS : LISTS);
    atomic_store(&told_server(told)->opens_directories, opens);
}

/* ---- asking ---- */

/* 1, or 0 if Python must ask, or -errno. */
static int directory_open(struct asking *a) {
    struct server *server = told_server(a->session.told);
    struct handle handle = {0};
    int result = 1;
    if (atomic_load(&server->opens_directories))
        result = session_open(&a->session, a->listing->node, O_DIRECTORY, &handle);
    if (result == -ENOSYS)
        return 0;
    if (result > 0)
        listing_opened(a->session.told, a->listing, &handle, (pid_t)a->session.pid);
    return result;
}

/* Whether the server goes round in a circle. */
static int offset_is_known(struct asking *a, uint64_t offset) {
    if (offset == a->seen)
        return 1;
    if (++a->steps == a->power) {
        a->power *= 2;
        a->steps = 0;
        a->seen = offset;
    }
    return 0;
}

static int is_dots(const char *name, size_t length) {
    return *name == '.' && (length == 1 || (length == 2 && name[1] == '.'));
}

/* One name of an answer: 1, or -errno. */
static int name_take(struct asking *a, const struct fuse_dirent *head, const char *name, const void *entry) {
    struct dio_told_node node;
    struct entering at = {.directory = a->listing->inode, .name = name, .length = head->namelen, .mark = a->mark};
    if (is_dots(name, head->namelen))
        return 1;
    const struct fuse_entry_out *found = entry;
    if (found && found->nodeid)
        told_entered(a->session.told, &at, found, &node);
    return listing_add(a->listing, head->ino, (uint8_t)head->type, name, head->namelen) ? -ENOMEM : 1;
}

/* Of READDIRPLUS each name but these is a reference, also what is not taken. */
static void name_leave(struct asking *a, const struct fuse_dirent *head, const char *name, const void *entry) {
    const struct fuse_entry_out *found = entry;
    if (found && !(head->namelen && is_dots(name, head->namelen)))
        server_forget(a->session.told, found->nodeid, found->generation);
}

static int has_wrong_bytes(const char *name, size_t length) {
    return memchr(name, '/', length) || memchr(name, 0, length);
}

/* Takes what READDIR has answered, or READDIRPLUS: 1, or -errno.  A name that is cut off at the end is left out. */
static int names_take(struct asking *a, const char *at, size_t size, int plus) {
    size_t before = plus ? sizeof(struct fuse_entry_out) : 0, fixed = before + FUSE_NAME_OFFSET, count = 0;
    int result = 1;
    while (size >= fixed) {
        struct fuse_entry_out entry = {0};
        struct fuse_dirent head;
        memcpy(&entry, at, before);
        memcpy(&head, at + before, FUSE_NAME_OFFSET);
        const char *name = at + fixed;
        if (result > 0 && (!head.namelen || head.namelen > LONGEST))
            result = -EIO;
        if (head.namelen > size - fixed)
            break;
        if (result > 0 && has_wrong_bytes(name, head.namelen))
            result = -EIO;
        if (result > 0) {
            result = name_take(a, &head, name, plus ? &entry : NULL);
            a->listing->at = head.off;
            count++;
        } else {
            name_leave(a, &head, name, plus ? &entry : NULL);
        }
        size_t length = FUSE_DIRENT_ALIGN(fixed + (size_t)head.namelen);
        at += length < size ? length : size;
        size -= length < size ? length : size;
    }
    if (result > 0 && !count)
        return listing_finish(a->session.told, a->listing) ? -ENOMEM : 1;
    return result > 0 && offset_is_known(a, a->listing->at) ? -EIO : result;
}

/* Asks for the next names: 1, or 0 if Python must ask, or -errno. */
static int piece_ask(struct asking *a) {
    struct listing *l = a->listing;
    int plus = atomic_load(&told_server(a->session.told)->lists) == LISTS_PLUS;
    struct left request = {.what = {.opcode = plus ? FUSE_READDIRPLUS : FUSE_READDIR, .node = l->node},
                           .handle = l->handle};
    const struct fuse_read_in body = {.fh = l->handle.number, .offset = l->at, .size = PIECE};
    size_t got = 0;
    int result = session_ask(&a->session, &request, &body, sizeof body, a->answer, READ_HEAD + PIECE, &got);
    a->mark = request.mark;
    if (!result && request.what.unique) /* whoever reads the answer releases the handle */
        l->handle.flags = 0;
    if (result > 0)
        result = names_take(a, a->answer + READ_HEAD, got - READ_HEAD, plus);
    return result == -ENOSYS ? 0 : result;
}

/* Reads on until there are as many bytes behind a position as there is room, or there is no more.  With `is_whole` names
 * that were there before may come in another order. */
static int listing_fill(struct asking *a, int64_t position, size_t room, int is_whole) {
    struct listing *l = a->listing;
    int result = 1;
    while (result > 0 && !l->is_complete) {
        int64_t last;
        if (listing_is_straight(l) && !(is_whole && l->old.count)) {
            size_t first = listing_behind(l, position);
            size_t ready = listing_fitting(l, first, room, &last);
            size_t all = first < l->now.count ? l->now.size - l->now.starts[first] : 0;
            if (all > ready)
                break;
        }
        size_t before = l->now.count;
        result = piece_ask(a);
        a->empty = l->now.count > before ? 0 : a->empty + 1;
        if (result > 0 && a->empty > MOST_EMPTY)
            result = -EIO;
        listing_bound(l, position);
    }
    return result;
}

/* Whether it is to be read from its start.  Of one that is too large only the rest is, by who has its start. */
static int must_restart(const struct listing *l, int64_t position) {
    if (!position || l->dropped)
        return position < l->dropped || !position;
    return l->is_complete ? atomic_load(&l->is_stale) : !l->is_open;
}

/* As `listing_fill`, from where the program is. */
static int listing_ready(struct asking *a, int64_t position, size_t room) {
    struct listing *l = a->listing;
    int is_new = must_restart(l, position);
    if (is_new)
        listing_restart(a->session.told, l);
    if (!l->is_complete && !l->is_open) {
        int result = directory_open(a);
        if (result <= 0)
            return result;
    }
    return listing_fill(a, position, room, is_new && position);
}

/* ---- the answer ---- */

/* The number that programs see of a directory: as they know it already, or what the server says. */
static int number_find(struct asking *a, uint64_t inode, uint64_t *number) {
    struct dio_told_node node;
    *number = nodes_shown(told_server(a->session.told), inode);
    if (*number)
        return 1;
    if (!inode || !session_node(&a->session, inode, &node))
        return 0;
    *number = node.number;
    return 1;
}

/* `.` and `..`, of which the second is the first at the root of a mount: 1, or 0 if Python must look. */
static int dots_find(struct asking *a, struct record *dots[2]) {
    uint64_t inode = a->listing->inode, above = inode;
    if (inode != a->mount->inode)
        above = nodes_above(told_server(a->session.told), inode);
    for (int i = 0; i < 2; i++) {
        *dots[i] = (struct record){.offset = i + 1, .length = DOT_SIZE, .type = DIRECTORY};
        memcpy(dots[i]->name, "..", (size_t)i + 1);
        if (!number_find(a, i ? above : inode, &dots[i]->inode))
            return 0;
    }
    return 1;
}

/* Two pieces, one behind the other, of which the first is short: at once, where there is room for that. */
static ssize_t both_write(struct asking *a, uint64_t address, const char *first, size_t size, const char *second, size_t more) {
    pid_t tid = a->session.asked->tid;
    if (!size || size + more > READ_HEAD + PIECE) {
        ssize_t n = dio_memory_write(tid, address, first, size);
        return n == (ssize_t)size && more ? n + dio_memory_write(tid, address + size, second, more) : n;
    }
    memcpy(a->answer, first, size);
    if (more)
        memcpy(a->answer + size, second, more);
    return dio_memory_write(tid, address, a->answer, size + more);
}

/* The result of the call: what has gone into the program's memory, with `last` the offset behind it; -EAGAIN if Python
 * must answer. */
static int64_t entries_give(struct asking *a, uint64_t address, size_t room, int64_t *position) {
    _Alignas(struct record) char dots[2 * DOT_SIZE] = {0};
    struct record *both[2] = {(struct record *)(void *)dots, (struct record *)(void *)(dots + DOT_SIZE)};
    const struct dio_asked *asked = a->session.asked;
    const struct listing *l = a->listing;
    int64_t last = *position;
    size_t size = 0;
    while (last < 2 && size + DOT_SIZE <= room) {
        size += DOT_SIZE;
        last++;
    }
    const char *from = dots + (*position == 1 ? DOT_SIZE : 0);
    size_t first = listing_behind(l, *position), more = last < 2 ? 0 : listing_fitting(l, first, room - size, &last);
    if (size && !dots_find(a, both))
        return -EAGAIN;
    if (!(size + more))
        return first < l->now.count || *position < 2 ? -EINVAL : 0;
    if (asked->listener && dio_listener_valid(asked->listener, asked->cookie))
        return -EAGAIN; /* gone: whoever has this thread id now is somebody else */
    ssize_t n = both_write(a, address, from, size, more ? l->now.data + l->now.starts[first] : NULL, more);
    if (n == -ESRCH)
        return -EAGAIN;
    *position = last;
    return n == (ssize_t)(size + more) ? n : -EFAULT;
}

static int64_t listing_answer(struct asking *a, const struct dio_decision *decision, int fd) {
    const uint64_t *args = a->session.asked->args;
    size_t room = (uint32_t)args[decision->size_arg] < MOST_GIVEN ? (uint32_t)args[decision->size_arg] : MOST_GIVEN;
    int64_t position, before, size;
    do {
        before = position = lseek(fd, 0, SEEK_CUR);
        if (position < 0)
            return -EAGAIN;
        int result = listing_ready(a, position, room);
        if (result <= 0)
            return result ? result : -EAGAIN;
        size = entries_give(a, args[decision->buffer_arg], room, &position);
    } while (size > 0 && !dio_told_list_moved(a->session.told, fd, before, position));
    return size;
}

/* What this thread has begun to list, and left. */
static _Thread_local struct {
    const struct dio_told *told;
    uint64_t inode;
} left_one;

uint64_t dio_told_left_listing(const struct dio_told *told) {
    uint64_t inode = left_one.told == told ? left_one.inode : 0;
    if (inode)
        left_one.told = NULL;
    return inode;
}

static void left_note(struct dio_told *told, uint64_t inode) {
    struct server *server = told_server(told);
    pid_t tid = (pid_t)syscall(SYS_gettid);
    left_one.told = NULL;
    if (!atomic_load(&server->left_count) && !atomic_load(&server->given_count))
        return;
    pthread_mutex_lock(&server->lock);
    for (int i = 0; i < LEFT; i++)
        if ((server->left[i].what.unique && server->left[i].what.tid == tid) || server->given[i].tid == tid) {
            left_one.told = told;
            left_one.inode = inode;
        }
    pthread_mutex_unlock(&server->lock);
}

uint64_t dio_told_abandon(struct dio_told *told) {
    struct server *server = told_server(told);
    pid_t tid = (pid_t)syscall(SYS_gettid);
    uint64_t unique = 0;
    given_release(told);
    if (!atomic_load(&server->left_count))
        return 0;
    pthread_mutex_lock(&server->lock);
    for (int i = 0; i < LEFT && !unique; i++)
        if (server->left[i].what.unique && server->left[i].what.tid == tid) {
            unique = server->left[i].what.unique;
            server->left[i].what.tid = 0;
        }
    pthread_mutex_unlock(&server->lock);
    return unique;
}

void decide_list(const struct dio_decision *decision, const struct dio_asked *asked, const struct mounted *mount,
                 uint64_t inode, struct dio_verdict *out) {
    struct asking a = {.session = {.told = mount->told, .asked = asked}, .mount = mount, .power = 1};
    int64_t result = -EAGAIN;
    if (asked->abi != ARCH_NATIVE || decision->size_arg > 5 || decision->buffer_arg > 5 ||
        !atomic_load(&told_server(mount->told)->lists) || told_differs(mount->told, inode) || !told_holds(mount->told))
        return;
    /* It stays open: as long as there is one, who asks for another (`thread_caller`) has it in half the time. */
    int owner = thread_pidfd(asked->tid);
    /* A copy of the program's descriptor, which shares its offset. */
    int fd = owner < 0 ? -1 : (int)syscall(KERNEL_PIDFD_GETFD, owner, (int32_t)asked->args[decision->arg], 0);
    a.answer = fd >= 0 ? malloc(READ_HEAD + PIECE) : NULL;
    a.listing = a.answer ? listing_take(mount->told, inode) : NULL;
    if (a.listing) {
        result = listing_answer(&a, decision, fd);
        session_end(&a.session);
        if (result < 0 && result != -EINVAL && result != -EFAULT)
            listing_close(mount->told, a.listing); /* read anew, with the offsets that are known */
        listing_put(mount->told, a.listing);
    }
    free(a.answer);
    if (fd >= 0)
        close(fd);
    if (owner >= 0)
        close(owner);
    if (result == -EAGAIN) {
        left_note(mount->told, inode);
        return;
    }
    out->kind = DIO_VERDICT_VALUE;
    out->value = result;
}
