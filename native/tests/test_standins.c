/* test_standins.c - directories of a server are opened, and what stands for them is made, entered and adopted once. */
#include "../told.h"
#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../arch/arch.h"

enum { OPEN = 7, THREADS = 8, MANY = 200, ABOVE = 2, BELOW, OTHER, OURS, FIRST };

static char top[64], home[80], point[80];
static struct dio_decider *decider;
static struct dio_told *told;
static struct dio_standin adopted;

static const struct dio_decision decision = {
    .abi = ARCH_NATIVE, .nr = OPEN, .settle = DIO_SETTLE_PATHS, .op = DIO_DO_OPEN, .path_count = 1, .flags_arg = 1,
    .paths = {{.path_arg = 0, .dirfd_arg = DIO_NO_ARG, .follow = DIO_FOLLOW_OPEN, .flags_arg = 1}},
    .buffer_arg = DIO_NO_ARG, .size_arg = DIO_NO_ARG, .mode_arg = DIO_NO_ARG, .mask_arg = DIO_NO_ARG,
};

/* A directory by its name in another, which holds for ever. */
static void tell(uint64_t directory, const char *name, uint64_t inode, mode_t mode) {
    struct dio_told_node node = {.inode = inode, .number = inode, .mode = S_IFDIR | mode, .links = 2, .uid = geteuid()};
    if (directory)
        CHECK_EQ(dio_told_enter(told, inode, 0), inode);
    dio_told_node(told, &node, INT64_MAX);
    if (directory)
        dio_told_name(told, directory, name, strlen(name), inode, INT64_MAX);
}

static struct dio_verdict ask(const char *name, uint32_t flags, char *path) {
    char text[128];
    struct dio_asked asked = {.tid = getpid(), .abi = ARCH_NATIVE, .nr = OPEN, .may_give = !path, .path = path};
    struct dio_verdict verdict;
    snprintf(text, sizeof text, "%s%s", point, name);
    asked.args[0] = (uint64_t)(uintptr_t)text;
    asked.args[1] = flags;
    CHECK_EQ(dio_decide(decider, &asked, &verdict), 0);
    return verdict;
}

/* The number of the real directory that a program is given; 0 if Python is asked. */
static ino_t opened(const char *name) {
    struct stat status;
    struct dio_verdict verdict = ask(name, O_RDONLY | O_DIRECTORY, NULL);
    if (verdict.kind == DIO_VERDICT_ASK)
        return 0;
    CHECK_EQ(verdict.kind, DIO_VERDICT_GIVE);
    CHECK_EQ(fstat(verdict.fd, &status), 0);
    CHECK_EQ(status.st_mode, S_IFDIR | 0555);
    close(verdict.fd);
    return status.st_ino;
}

static uint32_t made(void) { return *dio_decider_standins_made(decider); }

static const char *real_of(void) { return adopted.paths + strlen(adopted.paths) + 1; }

static void check_first(void) {
    char path[PATH_MAX];
    umask(0777); /* as that of a program for which a worker has made something */
    ino_t first = opened("/above");
    umask(022);
    CHECK_EQ(first != 0, 1);
    CHECK_EQ(opened("/./above/"), first);
    CHECK_EQ(made(), 1);
    struct dio_verdict verdict = ask("/above", O_RDONLY | O_DIRECTORY, path);
    CHECK_EQ(verdict.kind, DIO_VERDICT_PATH);
    CHECK_EQ(ask("/above/below", O_RDONLY | O_DIRECTORY, path).kind, DIO_VERDICT_PATH);
    CHECK_EQ(made(), 2);
    CHECK_EQ(dio_decider_standin_adopt(decider, &adopted), 0);
    CHECK_EQ(adopted.inode, ABOVE);
    CHECK_EQ(adopted.directory, 1);
    CHECK_EQ(adopted.number, first);
    CHECK_EQ(adopted.mode, S_IFDIR | 0555);
    CHECK_EQ(strcmp(adopted.paths, "/above"), 0);
    CHECK_EQ(dio_decider_standin_adopt(decider, &adopted), 0);
    CHECK_EQ(adopted.directory, ABOVE);
    CHECK_EQ(strcmp(adopted.paths, "/above/below"), 0);
    CHECK_EQ(strcmp(real_of(), path), 0);
    CHECK_EQ(dio_decider_standin_adopt(decider, &adopted), -ENOENT);
    CHECK_EQ(made(), 0);
}

/* Whoever may not, or asks for something else, is Python's. */
static void check_others(void) {
    static const uint32_t flags[] = {O_WRONLY, O_RDONLY | O_CREAT, O_RDONLY | O_TRUNC, O_PATH, O_RDONLY | O_NOATIME};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        CHECK_EQ(ask("/other", flags[i] | O_DIRECTORY, NULL).kind, DIO_VERDICT_ASK);
    CHECK_EQ(opened("/ours") != 0, geteuid() != 0); /* root may be another in the view */
    if (geteuid())
        CHECK_EQ(dio_decider_standin_adopt(decider, &adopted), 0);
    tell(1, "other", OTHER, 0311);
    CHECK_EQ(opened("/other"), 0);
    tell(1, "other", OTHER, 0755);
    dio_told_differs(told, OTHER, 1);
    CHECK_EQ(opened("/other"), 0);
    dio_told_differs(told, OTHER, 0);
}

static void check_claims(void) {
    dio_decider_standin_claim(decider, 1, OTHER);
    CHECK_EQ(opened("/other"), 0);
    CHECK_EQ(made(), 0);
    dio_decider_standin_drop(decider, 1, OTHER);
    CHECK_EQ(opened("/other") != 0, 1);
    CHECK_EQ(dio_decider_standin_adopt(decider, &adopted), 0);
}

/* By an old path nothing is made, nor found; by a new one there is what there was. */
static void check_renaming(void) {
    ino_t above = opened("/above");
    tell(ABOVE, "new", FIRST, 0755);
    dio_decider_standins_hold(decider);
    CHECK_EQ(opened("/above/new"), 0);
    CHECK_EQ(opened("/above") != 0, 1); /* is there already */
    dio_decider_standins_forget(decider);
    CHECK_EQ(made(), 0);
    CHECK_EQ(opened("/above/new") != 0, 1);
    CHECK_EQ(dio_decider_standin_adopt(decider, &adopted), 0);
    dio_told_name(told, 1, "moved", 5, ABOVE, INT64_MAX);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(opened(i ? "/moved" : "/above"), above);
        CHECK_EQ(dio_decider_standin_adopt(decider, &adopted), 0);
        CHECK_EQ(adopted.inode, ABOVE);
        CHECK_EQ(adopted.number, above);
        CHECK_EQ(strcmp(adopted.paths, i ? "/moved" : "/above"), 0);
        CHECK_EQ(opened(i ? "/moved" : "/above"), above);
        CHECK_EQ(made(), 0);
    }
}

/* Nor by one that was walked before the renaming, and has led there after it. */
static void check_walks(void) {
    static const struct dio_asked asked = {.may_give = 1};
    struct walk w = {.table = decider->table, .mount = 1, .inode = 1, .todo = "/other/new"};
    struct standin_place at = {.told = told, .walk = &w, .inode = FIRST + 1, .directory = OTHER};
    struct dio_verdict verdict = {.kind = DIO_VERDICT_ASK};
    tell(OTHER, "new", FIRST + 1, 0755);
    at.renamed = standins_renamed(decider);
    dio_decider_standins_hold(decider);
    dio_decider_standins_forget(decider);
    standin_open(decider, &decision, &asked, &at, O_RDONLY, &verdict);
    CHECK_EQ(verdict.kind, DIO_VERDICT_ASK);
    at.renamed = standins_renamed(decider);
    standin_open(decider, &decision, &asked, &at, O_RDONLY, &verdict);
    CHECK_EQ(verdict.kind, DIO_VERDICT_GIVE);
    close(verdict.fd);
    CHECK_EQ(dio_decider_standin_adopt(decider, &adopted), 0);
}

static ino_t found[THREADS][MANY];

static void *open_all(void *argument) {
    ino_t *mine = argument;
    char name[32];
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "/many%d", i);
        while (!(mine[i] = opened(name))) /* another is about to enter it */
            continue;
    }
    return NULL;
}

static size_t count_in_home(void) {
    char command[128];
    size_t count = 0;
    snprintf(command, sizeof command, "ls '%s' | wc -l", home);
    FILE *counted = popen(command, "re");
    CHECK_EQ(fscanf(counted, "%zu", &count), 1);
    pclose(counted);
    return count;
}

static void check_threads(void) {
    pthread_t threads[THREADS];
    char name[32];
    size_t before = count_in_home();
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "many%d", i);
        tell(1, name, (uint64_t)(FIRST + 2 + i), 0755);
    }
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, open_all, found[i]), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 1; i < THREADS; i++)
        CHECK_EQ(memcmp(found[i], found[0], sizeof found[0]), 0);
    CHECK_EQ(made(), MANY);
    CHECK_EQ(count_in_home() - before, MANY);
    CHECK_EQ(dio_decider_standin_adopt(decider, &adopted), 0); /* the rest nobody adopts */
}

static void check_no_room(void) {
    char away[96], command[128];
    tell(1, "late", FIRST + 2 + MANY, 0755);
    snprintf(away, sizeof away, "%s/away", top);
    CHECK_EQ(rename(home, away), 0);
    CHECK_EQ(opened("/late"), 0);
    CHECK_EQ(rename(away, home), 0);
    CHECK_EQ(opened("/late") != 0, 1);
    CHECK_EQ(dio_decider_standins_make(decider, NULL), 0);
    tell(1, "later", FIRST + 3 + MANY, 0755);
    CHECK_EQ(opened("/later"), 0);
    snprintf(command, sizeof command, "rm -r '%s'", top);
    CHECK_EQ(system(command), 0);
}

int main(void) {
    int ends[2];
    strcpy(top, "/tmp/test_standins.XXXXXX");
    CHECK_EQ(mkdtemp(top) != NULL, 1);
    snprintf(home, sizeof home, "%s/home", top);
    snprintf(point, sizeof point, "%s/mnt", top);
    CHECK_EQ(mkdir(home, 0711) || mkdir(point, 0755), 0);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
    CHECK_EQ(dio_told_new(ends[0], 0, &told), 0);
    CHECK_EQ(dio_decider_new(&decider), 0);
    const char *const privates[] = {home, NULL};
    const struct dio_mounted mounts[] = {
        {.parent = -1, .host = "", .directory = 1},
        {.parent = 0, .point = point, .directory = 1, .told = told, .inode = 1},
    };
    CHECK_EQ(dio_decider_load(decider, &decision, 1, mounts, 2, privates, 0), 0);
    tell(0, "", 1, 0755);
    tell(1, "above", ABOVE, 0755);
    tell(ABOVE, "below", BELOW, 0755);
    tell(1, "other", OTHER, 0755);
    tell(1, "ours", OURS, 0711);
    CHECK_EQ(opened("/above"), 0); /* nobody has said where */
    CHECK_EQ(dio_decider_standins_make(decider, home), 0);
    check_first();
    check_others();
    check_claims();
    check_renaming();
    check_walks();
    check_threads();
    check_no_room();
    dio_decider_free(decider);
    dio_told_free(told);
    close(ends[0]);
    close(ends[1]);
    return checks_report("standins");
}
