/*
 * A fault at the Nth system call of a command and its children:
 *
 *     fault_trace count|kill-all|kill-one|ENOSPC|EIO N COMMAND...
 *
 * Prints "CALLS HIT STATUS", STATUS as a shell would have it. Exit status 0, or 3 where the
 * command hung.
 */
#include "tests/fault/tracer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int run(void *context) {
    char **command = context;
    execv(command[0], command);
    return 127;
}

int main(int argc, char **argv) {
    static const struct {
        const char *word;
        struct fault fault;
    } faults[] = {
        {"count", {FAULT_NONE, 0, 0, true}},        {"kill-all", {FAULT_KILL_ALL, 0, 0, true}},
        {"kill-one", {FAULT_KILL_ONE, 0, 0, true}}, {"ENOSPC", {FAULT_ERROR, 0, ENOSPC, true}},
        {"EIO", {FAULT_ERROR, 0, EIO, true}},
    };
    for (size_t i = 0; argc > 3 && i < sizeof faults / sizeof faults[0]; i++) {
        if (strcmp(faults[i].word, argv[1]) != 0) continue;
        struct fault fault = faults[i].fault;
        fault.at = (unsigned)atoi(argv[2]);
        struct fault_result r = fault_run(run, argv + 3, &fault);
        int status = WIFSIGNALED(r.status) ? 128 + WTERMSIG(r.status) : WEXITSTATUS(r.status);
        printf("%u %d %d\n", r.calls, r.hit, status);
        return r.hung ? 3 : 0;
    }
    fprintf(stderr, "usage: fault_trace count|kill-all|kill-one|ENOSPC|EIO N COMMAND...\n");
    return 2;
}
