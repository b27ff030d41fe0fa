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

int main(void) {
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
