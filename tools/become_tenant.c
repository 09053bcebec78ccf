/*
 * A process becomes hutch-tenant: with the descriptors of its configuration and no others.
 */
#include "loader/tenant_config.h"
#include "tools/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <unistd.h>

/* The tenant's own environment: ours may hold secrets, and it needs none of it but what the
 * dynamic linker and the sanitizers read. */
static char **tenant_environment(struct arena *arena) {
    static const char *const kept[] = {
        "LD_LIBRARY_PATH=", "ASAN_OPTIONS=", "UBSAN_OPTIONS=", "LSAN_OPTIONS="};
    char **list = arena_array(arena, countof(kept) + 1, sizeof *list);
    size_t count = 0;
    for (char **e = environ; list && *e; e++)
        for (size_t i = 0; i < countof(kept) && count < countof(kept); i++)
            if (strncmp(*e, kept[i], strlen(kept[i])) == 0) list[count++] = *e;
    return list;
}

/* Lets one descriptor through exec. */
static enum status inherit(int fd, struct error *err) {
    if (fcntl(fd, F_SETFD, 0) < 0)
        return error_set_errno(err, ST_IO, "cannot hand on descriptor %d", fd);
    return ST_OK;
}

enum status cli_become_tenant(const struct tenant_config *config, struct arena *arena,
                              struct error *err) {
    char path[4096];
    enum status status = cli_find_program("hutch-tenant", path, sizeof path, err);
    if (status != ST_OK) return status;
    /* What our caller left open is not the guest's. Kernels before 5.11 lack the flag; then
     * only descriptors that were born close-on-exec stay behind. */
    close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
    int config_fd = -1;
    if ((status = tenant_config_write(config, &config_fd, err)) != ST_OK) return status;
    if ((status = inherit(config->object_fd, err)) != ST_OK) return status;
    if (config->profile_fd >= 0 && (status = inherit(config->profile_fd, err)) != ST_OK)
        return status;
    for (uint32_t i = 0; i < config->dir_count; i++)
        if (config->dirs[i].fd >= 0 && (status = inherit(config->dirs[i].fd, err)) != ST_OK)
            return status;
    const int others[] = {config->requests.listen_fd, config->requests.control_fd,
                          config->requests.snapshot_fd};
    for (size_t i = 0; i < countof(others); i++)
        if (others[i] >= 0 && (status = inherit(others[i], err)) != ST_OK) return status;
    char program[] = "hutch-tenant", number[16];
    snprintf(number, sizeof number, "%d", config_fd);
    auto_free char *name = strdup(config->name); /* for ps(1) */
    char **environment = tenant_environment(arena);
    if (!name || !environment) return error_set(err, ST_NO_MEMORY, "out of memory");
    char *argv[] = {program, number, name, NULL};
    fflush(NULL);
    execve(path, argv, environment);
    return error_set_errno(err, ST_IO, "cannot run %s", path);
}
