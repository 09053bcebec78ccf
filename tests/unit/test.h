/*
 * The unit tests' frame: one main a file, TEST functions called in order, EXPECT counts and
 * goes on. The last line is "N passed, N failed"; the exit status is 1 where anything failed.
 */
#ifndef HUTCH_TESTS_UNIT_TEST_H
#define HUTCH_TESTS_UNIT_TEST_H

#include <stdio.h>
#include <string.h>

static int test_passed, test_failed;

#define EXPECT(cond)                                                                           \
    do {                                                                                       \
        if (cond) {                                                                            \
            test_passed++;                                                                     \
        } else {                                                                               \
            test_failed++;                                                                     \
            printf("%s:%d: failed: %s\n", __FILE__, __LINE__, #cond);                          \
        }                                                                                      \
    } while (0)
#define EXPECT_STR(actual, expected)                                                           \
    do {                                                                                       \
        const char *actual_ = (actual), *expected_ = (expected);                               \
        if (strcmp(actual_, expected_) == 0) {                                                 \
            test_passed++;                                                                     \
        } else {                                                                               \
            test_failed++;                                                                     \
            printf("%s:%d: got \"%s\", expected \"%s\"\n", __FILE__, __LINE__, actual_,        \
                   expected_);                                                                 \
        }                                                                                      \
    } while (0)

static inline int test_end(void) {
    printf("%d passed, %d failed\n", test_passed, test_failed);
    return test_failed != 0;
}

#endif
