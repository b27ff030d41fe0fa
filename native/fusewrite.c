/* fusewrite.c - the content of a file goes to a FUSE server, one WRITE after the other.
 *
 * A server that takes 4 KiB at a time is asked 50,000 times for 200 MB, so this is done without the interpreter.  Only
 * what goes on as it should is done here: whatever else comes by the socket is left in it, and the request that waits
 * for its answer is handed back.  The next one is made when the last is answered, as the kernel does without write-back:
 * a server may rely on the order. */
#include "include/diorama.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

struct request {
    struct fuse_in_header header;
    struct fuse_write_in write;
};

struct answer {
    struct fuse_out_header header;
    struct fuse_write_out write;
};

/* 0, or -EAGAIN while the server reads nothing. */
static int request_send(const struct dio_fuse_write *w, const void *data, uint32_t size) {
    struct request r = {
        .header = {.len = (uint32_t)sizeof r + size, .opcode = FUSE_WRITE, .unique = w->unique, .nodeid = w->node,
                   .uid = w->uid, .gid = w->gid, .pid = w->pid},
        .write = {.fh = w->handle, .offset = w->offset, .size = size, .write_flags = w->flags},
    };
    struct iovec parts[] = {{&r, sizeof r}, {(void *)(uintptr_t)data, size}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    return sendmsg(w->socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* Takes the answer if it says that all was written; 0 if it is for somebody else to look at. */
static int answer_take(const struct dio_fuse_write *w, uint32_t size) {
    struct answer a;
    if (recv(w->socket, &a, sizeof a, MSG_PEEK | MSG_TRUNC) != (ssize_t)sizeof a)
        return 0;
    if (a.header.unique != w->unique || a.header.len != sizeof a || a.header.error || a.write.size != size)
        return 0;
    return recv(w->socket, &a, sizeof a, MSG_DONTWAIT) == (ssize_t)sizeof a;
}

int dio_fuse_write(struct dio_fuse_write *w, uint32_t requests) {
    void *data = malloc(w->most);
    int result = data ? 0 : -ENOMEM;
    for (; !result && requests && w->offset < w->end; requests--) {
        uint64_t left = w->end - w->offset;
        ssize_t size = pread(w->file, data, left < w->most ? left : w->most, (off_t)w->offset);
        if (size <= 0)
            result = size ? -errno : -ENODATA; /* it was made shorter meanwhile */
        else
            result = request_send(w, data, (uint32_t)size);
        if (!result && !answer_take(w, (uint32_t)size))
            result = (int)size;
        if (!result) {
            w->offset += (uint64_t)size;
            w->unique += 2;
        }
    }
    free(data);
    return result;
}
