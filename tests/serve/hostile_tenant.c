/*
 * hutch-tenant with a tenant in it that is up to no good when it is to hibernate, for
 * test_pool.py: the real zygote and sandbox, tenant_main is its own. It answers every request
 * at once; the app's name says what else it does:
 *
 *     flood     writes to the file for as long as it can
 *     empty     writes nothing, and says that it is done
 *     twice     says so twice
 *     mute      says nothing
 *     early     says so without having been asked
 *     damaged   writes something, and when it is to go on says that it cannot
 *     dies      writes something, and when it is to go on is gone
 *     well      writes something, and goes on
 */
#include "loader/sandbox.h"
#include "loader/tenant_config.h"
#include "loader/tenant_protocol.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

static void tell(const void *message, size_t size) {
    if (tenant_send(TENANT_CONTROL_FD, message, size, NULL, 0, NULL, 0) != 0) _exit(0);
}

static void say_hibernated(void) {
    struct tenant_hibernated m = {.header = tenant_header(TENANT_HIBERNATED, sizeof m, 0)};
    tell(&m, sizeof m);
}

static void hibernate(const char *how, int fd) {
    static char bytes[1 << 20];
    struct iovec part = {.iov_base = bytes, .iov_len = strcmp(how, "empty") == 0 ? 0 : 4096};
    bool floods = strcmp(how, "flood") == 0;
    if (floods) part.iov_len = sizeof bytes;
    do
        if (part.iov_len && writev(fd, &part, 1) < 0) break;
    while (floods);
    close(fd);
    if (strcmp(how, "mute") == 0) return;
    say_hibernated();
    if (strcmp(how, "twice") == 0) say_hibernated();
}

static void go_on(const char *how) {
    if (strcmp(how, "dies") == 0) _exit(9);
    if (strcmp(how, "damaged") != 0) return;
    struct tenant_failed m = {.header = tenant_header(TENANT_FAILED, sizeof m, 0),
                              .status = ST_DAMAGED};
    tell(&m, sizeof m);
    for (;;) tell(&m, sizeof m); /* until it is ended */
}

_Noreturn void tenant_main(uint32_t layers) {
    struct tenant_up up = {.header = tenant_header(TENANT_UP, sizeof up, 0), .layers = layers};
    tell(&up, sizeof up);
    int fds[TENANT_MAX_FDS];
    uint32_t count = 0;
    struct tenant_assign assign;
    if (tenant_receive(TENANT_CONTROL_FD, &assign, sizeof assign, fds, TENANT_MAX_FDS,
                       &count) <= 0)
        _exit(0);
    struct arena arena = {0};
    struct error err = {0};
    struct tenant_config config;
    if (tenant_config_read(fds[TENANT_ASSIGNED_CONFIG], &arena, &config, &err) != ST_OK)
        _exit(1);
    if (assign.hibernated) go_on(config.name);
    struct tenant_ready ready = {.header = tenant_header(TENANT_READY, sizeof ready, 0)};
    /* "late": the pool sees that its request is taken before it hears READY */
    int late = strcmp(config.name, "late") == 0 ? 1 : strcmp(config.name, "later") == 0 ? 2 : 0;
    if (!late) tell(&ready, sizeof ready);
    if (strcmp(config.name, "early") == 0) say_hibernated();
    for (;;) {
        static union {
            struct tenant_header header;
            char bytes[TENANT_MAX_REQUEST_BYTES];
        } message;
        int fd = -1;
        ssize_t got =
            tenant_receive(TENANT_CONTROL_FD, &message, sizeof message, &fd, 1, &count);
        if (got == -EINTR) continue;
        if (got <= 0) _exit(0);
        if (message.header.type == TENANT_HIBERNATE) {
            hibernate(config.name, fd);
            continue;
        }
        close(fd);
        const struct timespec some = {.tv_nsec = 40000000};
        if (late) ppoll(NULL, 0, &some, NULL);
        for (; late; late--) tell(&ready, sizeof ready);
        struct tenant_done done = {
            .header = tenant_header(TENANT_DONE, sizeof done, message.header.id)};
        tell(&done, sizeof done);
    }
}

int main(int argc, char **argv) {
    if (argc < 6) return 2;
    return zygote_main(
        &(struct zygote_options){.socket_fd = atoi(argv[2]),
                                 .uid_base = (uint32_t)strtoul(argv[3], NULL, 10),
                                 .uid_count = (uint32_t)strtoul(argv[4], NULL, 10),
                                 .max_memory_bytes = strtoull(argv[5], NULL, 10)});
}
