/*
 * hibernated: the directory of hibernated guests, a file each (docs/snapshot.md). Private to
 * the pool.
 *
 *     APP.OBJECT.SNAPSHOT.CONFIGURATION.SERIAL.BOOT     one that can go on
 *     tmp.NUMBER                                         being written
 *     lost.NAME                                          set aside: nobody could go on with it
 *
 * What a file may be given to stands in its name, which a tenant has no say in: the app's name
 * and 16 hexadecimal digits of the digests of its code object, of the snapshot it is a
 * difference to (zeros: of none), and of what its guest was given. SERIAL is the time it was
 * written, in nanoseconds. BOOT is 8 digits of the kernel's boot id; "reboot": the file is good
 * after another boot, too, for it was on the disk before its guest's process ended.
 *
 * One server has a directory at a time (a lock). What the files hold nobody looks at here.
 */
#ifndef HUTCH_SERVE_HIBERNATED_H
#define HUTCH_SERVE_HIBERNATED_H

#include "base/base.h"

#include <sys/queue.h>

/* Which guests a hibernated one can be continued as. */
struct hibernated_key {
    uint64_t object, snapshot, config;
};

struct hibernated {
    char *name;                /* of the file */
    struct hibernated_app *of; /* its app */
    struct hibernated_key key;
    uint64_t serial, bytes;
    bool reboot;
    bool taken;        /* a tenant has it, and is not up yet */
    uint32_t failures; /* of tenants that had it, in a row */
    TAILQ_ENTRY(hibernated) link, of_app;
};
TAILQ_HEAD(hibernated_list, hibernated); /* the newest first */
struct hibernated_app {
    char *name;
    struct hibernated_list list; /* by of_app */
};

struct hibernated_dir {
    int fd, lock_fd;
    char boot[9];
    uint64_t next_temporary, last_serial, bytes; /* bytes: of all files that can go on */
    uint32_t count;
    struct hibernated_list all; /* by link */
    void *apps; /* tsearch(3): struct hibernated_app with at least one, by name */
};

/* Makes the directory where it is not there, and reads what it holds: temporary files, and
 * those of another boot that are not good any more, are removed. ST_IO; ST_LIMIT: another
 * server has it. */
enum status hibernated_open(const char *path, struct hibernated_dir **ret_dir,
                            struct error *err) must_check;
void hibernated_close(struct hibernated_dir *dir);

/* A new file, for writing alone. reboot: what is written is on the disk when the write returns.
 * ret_number names it for the next two. */
enum status hibernated_create(struct hibernated_dir *dir, bool reboot, int *ret_fd,
                              uint64_t *ret_number, struct error *err) must_check;
void hibernated_abandon(struct hibernated_dir *dir, uint64_t number);
/* It is complete, and can be found from here on. */
enum status hibernated_publish(struct hibernated_dir *dir, uint64_t number, const char *app,
                               const struct hibernated_key *key, bool reboot, uint64_t bytes,
                               struct hibernated **ret, struct error *err) must_check;

/* The newest of the app that nobody has; NULL. */
struct hibernated *hibernated_find(const struct hibernated_dir *dir, const char *app,
                                   const struct hibernated_key *key);
/* Opened for reading, from its beginning. */
enum status hibernated_read(const struct hibernated_dir *dir, const struct hibernated *h,
                            int *ret_fd, struct error *err) must_check;
/* It has gone on, or never will: the file is removed, h freed. An error where the file is still
 * there; h is gone all the same. */
enum status hibernated_remove(struct hibernated_dir *dir, struct hibernated *h,
                              struct error *err) must_check;
/* The same, but the file stays under another name. */
void hibernated_set_aside(struct hibernated_dir *dir, struct hibernated *h);
/* Those of the app, by of_app; NULL: none. dir may be NULL. */
struct hibernated_app *hibernated_of(const struct hibernated_dir *dir, const char *app);
/* Files older than age_ns of apps for which is_served says no, and those set aside. */
void hibernated_clean(struct hibernated_dir *dir, uint64_t age_ns,
                      bool (*is_served)(void *context, const struct hibernated *h),
                      void *context);

#endif
