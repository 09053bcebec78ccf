/* What SQLite's Unix file layer calls and WASI preview1 does not have. Included before
 * sqlite3.c.
 *
 * Locks always succeed: a guest is alone with the files it was given, as far as it can know.
 * Owners and modes do not exist, so changing them does nothing. */
#ifndef SQLITE_WASI_H
#define SQLITE_WASI_H

#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#ifndef F_RDLCK
#define F_RDLCK 0
#define F_WRLCK 1
#define F_UNLCK 2
#endif
#ifndef F_GETLK
#define F_GETLK 5
#define F_SETLK 6
#define F_SETLKW 7
#endif

static inline int sqlite_wasi_fcntl(int fd, int command, ...) {
    va_list arguments;
    va_start(arguments, command);
    int result = 0;
    if (command == F_GETLK)
        va_arg(arguments, struct flock *)->l_type = F_UNLCK;
    else if (command != F_SETLK && command != F_SETLKW)
        result = fcntl(fd, command, va_arg(arguments, int));
    va_end(arguments);
    return result;
}
#define fcntl sqlite_wasi_fcntl

static inline int fchmod(int fd, mode_t mode) { return (void)fd, (void)mode, 0; }
static inline int fchown(int fd, uid_t user, gid_t group) {
    return (void)fd, (void)user, (void)group, 0;
}
static inline uid_t geteuid(void) { return 1; } /* not root: SQLite then never calls fchown */

#endif
