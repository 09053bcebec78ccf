/*
 * A fault at the Nth system call: runs a function in a child process under ptrace, counts the
 * system calls of it and of all its children, and at one of them kills or makes the call fail.
 * For x86-64, like the tests that use it.
 */
#ifndef HUTCH_TESTS_FAULT_TRACER_H
#define HUTCH_TESTS_FAULT_TRACER_H

#include <stdbool.h>

enum fault_kind {
    FAULT_NONE,     /* only counts */
    FAULT_KILL_ALL, /* SIGKILL for all of them, before the call is done */
    FAULT_KILL_ONE, /* SIGKILL for the process that calls; its parent sees it die */
    FAULT_ERROR,    /* the call is not done and returns an error */
};
struct fault {
    enum fault_kind kind;
    unsigned at; /* from 0; of FAULT_ERROR only calls count that can fail so on a good day */
    int error;   /* ENOSPC or EIO */
    bool quiet;  /* the children write nothing */
};
struct fault_result {
    unsigned calls; /* that counted */
    bool hit;       /* there were so many */
    bool hung;      /* no call for 60 seconds; all are killed */
    int status;     /* of the first process, as wait(2) has it */
    long number;    /* of the system call that was hit */
};
/* function's result is the child's exit status. */
struct fault_result fault_run(int (*function)(void *context), void *context,
                              const struct fault *fault);

#endif
