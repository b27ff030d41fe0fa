/* rules.c - which calls a handler wants, settled without Python. */
#include "internal.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

struct dio_rules {
    size_t count;
    struct dio_rule *rules;
};

static int rule_order(const void *left, const void *right) {
    const struct dio_rule *a = left, *b = right;
    if (a->abi != b->abi)
        return a->abi < b->abi ? -1 : 1;
    if (a->nr != b->nr)
        return a->nr < b->nr ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

void dio_rules_free(struct dio_rules *rules) {
    if (!rules)
        return;
    for (size_t i = 0; i < rules->count; i++)
        free((void *)(uintptr_t)rules->rules[i].glob);
    free(rules->rules);
    free(rules);
}

int dio_rules_new(const struct dio_rule *source, size_t count, struct dio_rules **out) {
    struct dio_rules *rules = calloc(1, sizeof *rules);
    if (!rules)
        return -ENOMEM;
    rules->rules = calloc(count ? count : 1, sizeof *rules->rules);
    if (!rules->rules) {
        free(rules);
        return -ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        rules->rules[i] = source[i];
        rules->count = i + 1;
        if (!source[i].glob)
            continue;
        rules->rules[i].glob = strdup(source[i].glob);
        if (!rules->rules[i].glob) {
            dio_rules_free(rules);
            return -ENOMEM;
        }
    }
    qsort(rules->rules, count, sizeof *rules->rules, rule_order);
    *out = rules;
    return 0;
}

static const struct dio_rule *rules_first(const struct dio_rules *rules, uint32_t abi, int64_t nr) {
    size_t low = 0, high = rules->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct dio_rule *r = &rules->rules[middle];
        if (r->abi < abi || (r->abi == abi && r->nr < nr))
            low = middle + 1;
        else
            high = middle;
    }
    return &rules->rules[low];
}

static int is_outside(uint32_t have, uint32_t bounds) {
    return have <= INT32_MAX && (have < (bounds & 0xFFFF) || have >= bounds >> 16);
}

static int is_within(uint32_t have, uint32_t bounds) { return have >= (bounds & 0xFFFF) && have < bounds >> 16; }

static int test_holds(const struct dio_test *test, const uint64_t args[6]) {
    uint64_t mask = test->width == 32 ? UINT32_MAX : UINT64_MAX;
    uint64_t have = args[test->arg] & mask, want = test->value & mask;
    switch (test->op) {
    case DIO_TEST_EQ: return have == want;
    case DIO_TEST_NE: return have != want;
    case DIO_TEST_BITS: return (have & want) == want;
    case DIO_TEST_OUTSIDE: return is_outside((uint32_t)have, (uint32_t)want);
    case DIO_TEST_WITHIN: return is_within((uint32_t)have, (uint32_t)want);
    default: return (have & want) == 0;
    }
}

static int rule_holds(const struct dio_rule *rule, pid_t tid, const uint64_t args[6]) {
    char path[4096];
    for (int i = 0; i < rule->test_count; i++)
        if (!test_holds(&rule->tests[i], args))
            return 0;
    if (!rule->glob)
        return 1;
    /* A path that cannot be read matches nothing: the kernel will say EFAULT itself. */
    if (dio_memory_string(tid, args[rule->path_arg], path, sizeof path) < 0)
        return 0;
    return fnmatch(rule->glob, path, 0) == 0;
}

int dio_rules_match(const struct dio_rules *rules, pid_t tid, uint32_t abi, int64_t nr, const uint64_t args[6],
                    uint64_t *matched, int64_t *value) {
    const struct dio_rule *end = rules->rules + rules->count;
    unsigned bit = 0;
    int asks = 0;
    *matched = 0;
    for (const struct dio_rule *r = rules_first(rules, abi, nr); r < end && r->abi == abi && r->nr == nr; r++, bit++) {
        if (bit >= 64 || !rule_holds(r, tid, args))
            continue;
        if (r->fixed && !*matched) {
            *value = r->value;
            return DIO_MATCH_FIXED;
        }
        asks |= !r->decides;
        *matched |= (uint64_t)1 << bit;
    }
    return asks ? DIO_MATCH_ASK : *matched ? DIO_MATCH_DECIDE : DIO_MATCH_NONE;
}
