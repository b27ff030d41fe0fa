/* fuselink.c - a FUSE server is asked where a link leads, without the interpreter. */
#include "told.h"

#include <linux/fuse.h>

struct link_answer {
    struct fuse_out_header header;
    char target[PATH_MAX];
};

ssize_t session_link(struct session *s, uint64_t inode, char target[PATH_MAX]) {
    struct left request = {.what = {.opcode = FUSE_READLINK, .node = dio_told_number(s->told, inode)}};
    struct link_answer answer;
    size_t got = 0;
    int result = session_ask(s, &request, "", 0, &answer, sizeof answer, &got);
    if (result <= 0)
        return result == -ENOSYS ? 0 : result;
    size_t length = strnlen(answer.target, got - sizeof answer.header);
    memcpy(target, answer.target, length);
    return (ssize_t)length;
}
