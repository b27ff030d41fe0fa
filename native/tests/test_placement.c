/* test_placement.c - pairs are pinned while they stop often, let go when they don't, and spread over the CPUs;
 * all under the sanitizers.  The traced program is this one, in another role. */
#include "../placement.h"
#include "check.h"

#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAIRS = 4, SECONDS = 20 };

static struct dio_rules *rules;
static struct dio_options options;
static struct cpus whole;

static int is_single(const struct cpus *mask) {
    int count = 0;
    for (int i = 0; i < CPU_WORDS; i++)
        count += __builtin_popcountl(mask->bits[i]);
    return count == 1;
}

static int equal(const struct cpus *a, const struct cpus *b) { return !memcmp(a->bits, b->bits, sizeof a->bits); }

/* ---- the traced program ---------------------------------------------------------------------- */

/* Obeys: s stop often until the next word comes, c compute, m is my mask whole?, q end.  Answers each word. */
static int is_pending(void) {
    fd_set set;
    struct timeval none = {0, 0};
    FD_ZERO(&set);
    FD_SET(0, &set);
    return select(1, &set, NULL, NULL, &none) > 0;
}

static _Noreturn void obey(void) {
    struct cpus mask;
    char word;
    while (read(0, &word, 1) == 1 && word != 'q') {
        if (word == 'm')
            word = !cpus_get(0, &mask) && equal(&mask, &whole) ? 'm' : 'x';
        if (write(1, &word, 1) != 1)
            _exit(9);
        while ((word == 's' || word == 'c') && !is_pending())
            for (int i = 0; word == 's' && i < 200; i++)
                syscall(SYS_getppid);
    }
    _exit(7);
}

/* ---- one pair ---------------------------------------------------------------------------------- */

struct pair {
    struct dio_started started;
    _Atomic pid_t guardian;
    pthread_t thread;
    int to, from;
};

static void *guard(void *argument) {
    struct pair *pair = argument;
    struct dio_guardian *g = NULL;
    struct dio_event e;
    struct dio_answer answer = {.action = DIO_RUN}, *next = NULL;
    int error;
    CHECK_EQ(dio_guardian_open(&options, rules, &g), 0);
    CHECK_EQ(dio_guardian_seize(g, pair->started.pid), 0);
    atomic_store(&pair->guardian, (pid_t)syscall(SYS_gettid));
    while ((error = dio_guardian_next(g, next, &e)) == 0 && e.kind != DIO_EVENT_DONE) {
        answer.tid = e.tid;
        next = e.kind == DIO_EVENT_CALL ? &answer : NULL;
    }
    CHECK_EQ(error, 0);
    dio_guardian_close(g);
    return NULL;
}

static void pair_start(struct pair *pair) {
    static const struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sched_getaffinity, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sched_setaffinity, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const char *const executables[] = {"/proc/self/exe", NULL};
    char *const argv[] = {(char *)(uintptr_t) "placement", (char *)(uintptr_t) "obey", NULL};
    int in[2], out[2];
    struct dio_failure failure;
    CHECK_EQ(pipe(in), 0);
    CHECK_EQ(pipe(out), 0);
    struct dio_launch how = {.executables = executables, .argv = argv, .fds = {in[0], out[1], -1}, .umask = -1,
                             .process_group = -1, .uid = -1, .gid = -1, .group_count = -1,
                             .filter = code, .filter_count = sizeof code / sizeof *code, .close_fds = 1};
    atomic_store(&pair->guardian, 0);
    CHECK_EQ(dio_launch(&how, &pair->started), 0);
    close(in[0]), close(out[1]);
    pair->to = in[1];
    pair->from = out[0];
    CHECK_EQ(pthread_create(&pair->thread, NULL, guard, pair), 0);
    while (!atomic_load(&pair->guardian))
        sched_yield();
    CHECK_EQ(write(pair->started.go_fd, "g", 1), 1);
    CHECK_EQ(read(pair->started.error_fd, &failure, sizeof failure), 0);
}

static char say(struct pair *pair, char word) {
    char answer = 0;
    CHECK_EQ(write(pair->to, &word, 1), 1);
    CHECK_EQ(read(pair->from, &answer, 1), 1);
    return answer;
}

static void pair_end(struct pair *pair) {
    int status = -1;
    CHECK_EQ(write(pair->to, "q", 1), 1);
    CHECK_EQ(read(pair->started.life_fd, &status, sizeof status), sizeof status);
    CHECK_EQ(WEXITSTATUS(status), 7);
    pthread_join(pair->thread, NULL);
    CHECK_EQ(read(pair->started.life_fd, &status, sizeof status), 0);
    close(pair->to), close(pair->from);
    close(pair->started.go_fd), close(pair->started.error_fd), close(pair->started.life_fd);
    CHECK_EQ(waitpid(pair->started.init_pid, NULL, 0), pair->started.init_pid);
}

/* ---- what is seen from outside ------------------------------------------------------------------ */

static int is_pinned(struct pair *pair) {
    struct cpus tracee, guardian;
    return !cpus_get(pair->started.pid, &tracee) && !cpus_get(atomic_load(&pair->guardian), &guardian) &&
           is_single(&tracee) && equal(&tracee, &guardian);
}

static int is_free(struct pair *pair) {
    struct cpus tracee, guardian;
    return !cpus_get(pair->started.pid, &tracee) && !cpus_get(atomic_load(&pair->guardian), &guardian) &&
           equal(&tracee, &whole) && equal(&guardian, &whole);
}

static int becomes(struct pair *pair, int (*what)(struct pair *)) {
    const struct timespec moment = {0, 2000000};
    for (int i = 0; i < SECONDS * 500 && !what(pair); i++)
        nanosleep(&moment, NULL);
    return what(pair);
}

static void test_one_pair(void) {
    struct pair pair;
    pair_start(&pair);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(say(&pair, 's'), 's');
        CHECK_EQ(becomes(&pair, is_pinned), 1);
        CHECK_EQ(say(&pair, 'm'), 'm');
        CHECK_EQ(say(&pair, 's'), 's');
        CHECK_EQ(becomes(&pair, is_pinned), 1);
        CHECK_EQ(say(&pair, i % 2 ? 'c' : 'm'), i % 2 ? 'c' : 'm'); /* computes, or sleeps */
        CHECK_EQ(becomes(&pair, is_free), 1);
    }
    CHECK_EQ(say(&pair, 's'), 's');
    CHECK_EQ(becomes(&pair, is_pinned), 1);
    pair_end(&pair);
}

static int cpu_of(struct pair *pair) {
    struct cpus mask;
    if (!is_pinned(pair) || cpus_get(pair->started.pid, &mask))
        return -1;
    for (int i = 0; i < CPU_WORDS; i++)
        if (mask.bits[i])
            return i * CPU_BITS + __builtin_ctzl(mask.bits[i]);
    return -1;
}

static struct pair pairs[PAIRS];

/* Two on each of two CPUs; pinned and released they may be at the moment of a look, so several looks are taken. */
static int is_spread(struct pair *unused) {
    int on_first = 0, first = cpu_of(&pairs[0]);
    (void)unused;
    for (int i = 0; i < PAIRS; i++) {
        if (cpu_of(&pairs[i]) < 0)
            return 0;
        on_first += cpu_of(&pairs[i]) == first;
    }
    return on_first == PAIRS / 2;
}

static void test_pairs_are_spread(void) {
    struct cpus two = whole;
    int kept = 0;
    for (int i = 0; i < CPU_WORDS * CPU_BITS; i++)
        if (whole.bits[i / CPU_BITS] >> (i % CPU_BITS) & 1 && ++kept > 2)
            two.bits[i / CPU_BITS] &= ~(1ul << (i % CPU_BITS));
    CHECK_EQ(cpus_set(0, &two), 0);
    for (int i = 0; i < PAIRS; i++)
        pair_start(&pairs[i]);
    for (int i = 0; i < PAIRS; i++)
        CHECK_EQ(say(&pairs[i], 's'), 's');
    CHECK_EQ(becomes(NULL, is_spread), 1);
    for (int i = 0; i < PAIRS; i++)
        pair_end(&pairs[i]);
    CHECK_EQ(cpus_set(0, &whole), 0);
}

int main(int argc, char **argv) {
    struct dio_features features;
    const struct dio_rule wanted[] = {{.abi = AUDIT_ARCH_X86_64, .nr = SYS_getppid}};
    CHECK_EQ(cpus_get(0, &whole), 0);
    if (argc > 1 && !strcmp(argv[1], "obey"))
        obey();
    if (is_single(&whole)) {
        puts("placement: one CPU, nothing to test");
        return 0;
    }
    CHECK_EQ(dio_probe(&features), 0);
    CHECK_EQ(dio_rules_new(wanted, 1, &rules), 0);
    options.our_filters = 1;
    CHECK_EQ(dio_paths_resolve(&features, &options.paths), 0);
    CHECK_EQ(dio_placement_new(&options.placement), 0);
    test_one_pair();
    test_pairs_are_spread();
    dio_placement_free(options.placement);
    dio_rules_free(rules);
    return checks_report("placement");
}
