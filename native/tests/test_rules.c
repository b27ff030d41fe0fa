/* test_rules.c - which calls a handler wants. */
#include "../include/diorama.h"
#include "check.h"

#include <stdint.h>
#include <unistd.h>

enum { ABI = 62, OTHER = 3 };

static uint64_t match(struct dio_rules *rules, uint32_t abi, int64_t nr, uint64_t first, uint64_t second) {
    const uint64_t args[6] = {first, second, 0, 0, 0, 0};
    uint64_t matched = 0;
    int64_t value = 0;
    int any = dio_rules_match(rules, getpid(), abi, nr, args, &matched, &value);
    CHECK_EQ(any, matched ? DIO_MATCH_ASK : DIO_MATCH_NONE);
    return matched;
}

/* Of the rules that match, the first decides: an answer, or whether somebody must be asked. */
static void first_match_decides(void) {
    enum { FIXED = 10, LATER, DECIDES, BOTH, PICKY };
    const struct dio_rule source[] = {
        {.abi = ABI, .nr = FIXED, .id = 1, .fixed = 1, .value = -13},
        {.abi = ABI, .nr = FIXED, .id = 2},
        {.abi = ABI, .nr = LATER, .id = 1, .test_count = 1, .tests = {{.arg = 0, .width = 64, .value = 5}}},
        {.abi = ABI, .nr = LATER, .id = 2, .fixed = 1, .value = 7},
        {.abi = ABI, .nr = DECIDES, .id = 3, .decides = 1},
        {.abi = ABI, .nr = BOTH, .id = 1, .test_count = 1, .tests = {{.arg = 0, .width = 64, .value = 5}}},
        {.abi = ABI, .nr = BOTH, .id = 2, .decides = 1},
        {.abi = ABI, .nr = PICKY, .id = 1, .fixed = 1, .value = 0, .path_arg = 1, .glob = "*.log"},
        {.abi = ABI, .nr = PICKY, .id = 2, .fixed = 1, .value = 9, .test_count = 1,
         .tests = {{.arg = 0, .width = 32, .value = 5}}},
        {.abi = ABI, .nr = PICKY, .id = 3, .decides = 1},
    };
    const uint64_t log = (uint64_t)(uintptr_t) "/var/x.log", text = (uint64_t)(uintptr_t) "/var/x.txt";
    const struct {
        int64_t nr;
        uint64_t first, second;
        int kind;
        int64_t value;
        uint64_t matched;
    } cases[] = {
        {FIXED, 0, 0, DIO_MATCH_FIXED, -13, 0},
        {LATER, 5, 0, DIO_MATCH_ASK, -1, 3}, /* a handler that was registered later is asked first */
        {LATER, 6, 0, DIO_MATCH_FIXED, 7, 0},
        {DECIDES, 0, 0, DIO_MATCH_DECIDE, -1, 1},
        {BOTH, 6, 0, DIO_MATCH_DECIDE, -1, 2},
        {BOTH, 5, 0, DIO_MATCH_ASK, -1, 3},
        {PICKY, 5, log, DIO_MATCH_FIXED, 0, 0},
        {PICKY, 5, text, DIO_MATCH_FIXED, 9, 0},
        {PICKY, 6, text, DIO_MATCH_DECIDE, -1, 4},
        {PICKY, 6, 1, DIO_MATCH_DECIDE, -1, 4}, /* an unreadable path matches nothing */
        {PICKY + 1, 0, 0, DIO_MATCH_NONE, -1, 0},
    };
    struct dio_rules *rules = NULL;
    CHECK_EQ(dio_rules_new(source, sizeof source / sizeof *source, &rules), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const uint64_t args[6] = {cases[i].first, cases[i].second, 0, 0, 0, 0};
        uint64_t matched = 0;
        int64_t value = -1;
        CHECK_EQ(dio_rules_match(rules, getpid(), ABI, cases[i].nr, args, &matched, &value), cases[i].kind);
        CHECK_EQ(value, cases[i].value);
        if (cases[i].kind != DIO_MATCH_FIXED)
            CHECK_EQ(matched, cases[i].matched);
    }
    dio_rules_free(rules);
}

int main(void) {
    first_match_decides();
    const struct dio_rule source[] = {
        {.abi = ABI, .nr = 7, .id = 2, .path_arg = 1, .glob = "*.log"},
        {.abi = ABI, .nr = 7, .id = 1, .test_count = 1, .tests = {{.arg = 0, .op = DIO_TEST_EQ, .width = 32, .value = 5}}},
        {.abi = OTHER, .nr = 7, .id = 3},
        {.abi = ABI, .nr = 3, .id = 4, .test_count = 2,
         .tests = {{.arg = 0, .op = DIO_TEST_BITS, .width = 64, .value = 6},
                   {.arg = 1, .op = DIO_TEST_NO_BITS, .width = 64, .value = 1}}},
        {.abi = ABI, .nr = 4, .id = 5, .test_count = 1, .tests = {{.arg = 0, .op = DIO_TEST_NE, .width = 64, .value = 9}}},
    };
    struct dio_rules *rules = NULL;
    const uint64_t log = (uint64_t)(uintptr_t) "/var/x/y.log", text = (uint64_t)(uintptr_t) "y.txt";
    CHECK_EQ(dio_rules_new(source, sizeof source / sizeof *source, &rules), 0);

    CHECK_EQ(match(rules, ABI, 7, 5, text), 1);
    CHECK_EQ(match(rules, ABI, 7, 0xffffffff00000005, log), 3); /* the upper half is not the argument's */
    CHECK_EQ(match(rules, ABI, 7, 6, log), 2);                  /* `*` crosses `/` */
    CHECK_EQ(match(rules, ABI, 7, 6, 1), 0);                    /* unreadable: matches nothing */
    CHECK_EQ(match(rules, OTHER, 7, 0, 0), 1);
    CHECK_EQ(match(rules, ABI, 3, 7, 2), 1);
    CHECK_EQ(match(rules, ABI, 3, 7, 3), 0);
    CHECK_EQ(match(rules, ABI, 3, 4, 2), 0);
    CHECK_EQ(match(rules, ABI, 4, 9, 0), 0);
    CHECK_EQ(match(rules, ABI, 4, 8, 0), 1);
    CHECK_EQ(match(rules, ABI, -1, 0, 0), 0);
    CHECK_EQ(match(rules, ABI, 1 << 30, 0, 0), 0);
    dio_rules_free(rules);
    CHECK_EQ(dio_rules_new(source, 0, &rules), 0);
    CHECK_EQ(match(rules, ABI, 7, 5, text), 0);
    dio_rules_free(rules);
    dio_rules_free(NULL);
    return checks_report("rules");
}
