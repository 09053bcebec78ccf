/*
 * A directory to a volume: the process that holds it (loader/volume_holder.c) is started, told
 * its limits, and has said what is there. One process has a directory at a time; the lock is on
 * the directory itself and lives as long as its holder.
 */
#include "tools/volume_start.h"

#include "tools/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define ANSWER_TIMEOUT_MS 60000 /* it walks through all that there is */

enum status volume_lock(int dir_fd, struct error *err) {
    if (flock(dir_fd, LOCK_EX | LOCK_NB) == 0) return ST_OK;
    if (errno == EWOULDBLOCK)
        return error_set(err, ST_LIMIT, "the volume is in use by another process");
    return error_set_errno(err, ST_IO, "cannot lock the volume");
}

/* A grandchild, so that whoever starts it need not wait for it and it has no terminal. */
static void become_holder(const char *path, int dir_fd, int control_fd, int listen_fd,
                          const char *name) {
    char fds[3][16];
    const int kept[3] = {dir_fd, control_fd, listen_fd};
    char program[] = "hutch-tenant", option[] = "--volume";
    char *empty[] = {NULL};
    setsid();
    if (fork() != 0) _exit(0);
    for (int i = 0; i < 3; i++) {
        snprintf(fds[i], sizeof fds[i], "%d", kept[i]);
        if (kept[i] >= 0 && fcntl(kept[i], F_SETFD, 0) < 0) _exit(1);
    }
    int nothing = open("/dev/null", O_RDWR);
    if (nothing >= 0) {
        dup2(nothing, STDIN_FILENO);
        dup2(nothing, STDOUT_FILENO);
    }
    char *title = strdup(name); /* for ps(1) */
    char *argv[] = {program, option, fds[0], fds[1], fds[2], title, NULL};
    if (title) execve(path, argv, empty);
    _exit(1);
}

enum status volume_start(int dir_fd, int listen_fd, const char *name, int *ret_control_fd,
                         struct error *err) {
    char path[4096];
    int ends[2];
    enum status status = cli_find_program("hutch-tenant", path, sizeof path, err);
    if (status != ST_OK) return status;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return error_set_errno(err, ST_IO, "cannot make a socket");
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        become_holder(path, dir_fd, ends[1], listen_fd, name);
        _exit(0);
    }
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return error_set_errno(err, ST_IO, "cannot start a process");
    }
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) continue;
    *ret_control_fd = ends[0];
    return ST_OK;
}

enum status volume_limit(int control_fd, uint64_t bytes, uint64_t names, uint32_t files,
                         struct error *err) {
    struct holder_limits limits = {.header = tenant_header(HOLDER_LIMITS, sizeof limits, 0),
                                   .bytes = bytes,
                                   .names = names,
                                   .files = files};
    struct holder_holds holds;
    int error = tenant_send(control_fd, &limits, sizeof limits, NULL, 0, NULL, 0);
    struct pollfd ready = {.fd = control_fd, .events = POLLIN};
    if (!error && poll(&ready, 1, ANSWER_TIMEOUT_MS) == 0)
        return error_set(err, ST_LIMIT, "the process of the volume does not answer");
    if (error || tenant_receive(control_fd, &holds, sizeof holds, NULL, 0, NULL) !=
                     (ssize_t)sizeof holds)
        return error_set(err, ST_NOT_FOUND, "the process of the volume has ended");
    return ST_OK;
}
