/* test_fusewrite.c - a file reaches a server in order; what does not go as it should is left to the caller. */
#include "../include/diorama.h"
#include "check.h"

#include <errno.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { SIZE = 10000, MOST = 4096 };

static int ends[2], file;
static char content[SIZE], received[SIZE];
static int answers, wrong_at = -1, wrong_error;
static uint32_t wrong_size = MOST;

static void answer(uint64_t unique, int error, uint32_t size) {
    struct {
        struct fuse_out_header header;
        struct fuse_write_out write;
    } a = {{.len = sizeof a, .error = error, .unique = unique}, {.size = size}};
    if (error)
        a.header.len = sizeof a.header;
    CHECK_EQ(send(ends[1], &a, a.header.len, 0), a.header.len);
}

/* Answers so many requests, one of them perhaps otherwise. */
static void *serve(void *nothing) {
    static char message[MOST + 200];
    for (int i = 0; i < answers; i++) {
        struct fuse_in_header header;
        struct fuse_write_in request;
        ssize_t n = recv(ends[1], message, sizeof message, 0);
        memcpy(&header, message, sizeof header);
        memcpy(&request, message + sizeof header, sizeof request);
        CHECK_EQ(header.len, n);
        CHECK_EQ(n, sizeof header + sizeof request + request.size);
        CHECK_EQ(header.opcode, FUSE_WRITE);
        CHECK_EQ(header.nodeid, 7);
        CHECK_EQ(header.unique, 100 + 2 * i);
        CHECK_EQ(header.uid + header.gid * 10 + header.pid * 100, 321);
        CHECK_EQ(request.fh, 9);
        CHECK_EQ(request.write_flags, FUSE_WRITE_CACHE);
        memcpy(received + request.offset, message + sizeof header + sizeof request, request.size);
        answer(header.unique, i == wrong_at ? wrong_error : 0, i == wrong_at ? wrong_size : request.size);
    }
    return nothing;
}

static struct dio_fuse_write todo_of(uint64_t end) {
    return (struct dio_fuse_write){.socket = ends[0], .file = file, .unique = 100, .node = 7, .handle = 9, .end = end,
                                   .most = MOST, .flags = FUSE_WRITE_CACHE, .uid = 1, .gid = 2, .pid = 3};
}

static int write_with(struct dio_fuse_write *w, uint32_t requests, int answered) {
    pthread_t thread;
    answers = answered;
    CHECK_EQ(pthread_create(&thread, NULL, serve, NULL), 0);
    int result = dio_fuse_write(w, requests);
    pthread_join(thread, NULL);
    return result;
}

static void check_all(void) {
    struct dio_fuse_write w = todo_of(SIZE);
    CHECK_EQ(write_with(&w, 100, 3), 0);
    CHECK_EQ(w.offset, SIZE);
    CHECK_EQ(w.unique, 106);
    CHECK_EQ(memcmp(content, received, SIZE), 0);
    w = todo_of(SIZE);
    CHECK_EQ(write_with(&w, 2, 2), 0); /* no more than was said */
    CHECK_EQ(w.offset, 2 * MOST);
    CHECK_EQ(w.unique, 104);
}

/* The request of which `part` tells is the second; its answer is still there. */
static void check_left(int part) {
    struct dio_fuse_write w = todo_of(SIZE);
    char message[100];
    CHECK_EQ(write_with(&w, 100, 2), part);
    CHECK_EQ(w.offset, MOST);
    CHECK_EQ(w.unique, 102);
    CHECK_EQ(recv(ends[0], message, sizeof message, MSG_DONTWAIT) > 0, 1);
}

static void check_odd(void) {
    wrong_at = 1;
    wrong_error = -ENOSPC;
    check_left(MOST);
    wrong_error = 0;
    wrong_size = 12;
    check_left(MOST);
    wrong_at = -1;
}

static void check_others(void) {
    struct fuse_out_header notice = {.len = sizeof notice, .error = 1};
    struct dio_fuse_write w = todo_of(SIZE);
    char message[100];
    CHECK_EQ(send(ends[1], &notice, sizeof notice, 0), sizeof notice);
    CHECK_EQ(write_with(&w, 100, 1), MOST); /* it stays, and so does the answer behind it */
    CHECK_EQ(w.offset, 0);
    CHECK_EQ(recv(ends[0], message, sizeof message, MSG_DONTWAIT), sizeof notice);
    CHECK_EQ(recv(ends[0], message, sizeof message, MSG_DONTWAIT), sizeof notice + sizeof(struct fuse_write_out));
}

static void check_nobody(void) {
    struct timeval moment = {.tv_usec = 1000};
    struct dio_fuse_write w = todo_of(SIZE);
    CHECK_EQ(setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &moment, sizeof moment), 0);
    CHECK_EQ(dio_fuse_write(&w, 1), MOST);
    CHECK_EQ(w.offset, 0);
    int result = MOST;
    for (int i = 0; i < 10000 && result == MOST; i++)
        result = dio_fuse_write(&w, 1); /* until the socket is full */
    CHECK_EQ(result, -EAGAIN);
    close(ends[1]);
    CHECK_EQ(dio_fuse_write(&w, 1) < 0, 1);
}

static void check_shorter(void) {
    struct dio_fuse_write w = todo_of(SIZE + 1);
    CHECK_EQ(write_with(&w, 100, 3), -ENODATA);
    CHECK_EQ(w.offset, SIZE);
    w.file = -1;
    CHECK_EQ(dio_fuse_write(&w, 1), -EBADF);
}

int main(void) {
    for (int i = 0; i < SIZE; i++)
        content[i] = (char)(i * 7 + i / 256);
    file = memfd_create("content", 0);
    CHECK_EQ(write(file, content, SIZE), SIZE);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
    check_all();
    check_odd();
    check_others();
    check_shorter();
    check_nobody();
    close(ends[0]);
    close(file);
    return checks_report("fusewrite");
}
