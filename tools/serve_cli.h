/*
 * hutch serve:
 *
 *   hutch_serve.c   main          cmd_serve.c   the command line
 *   serve_kit.c     an app -> what the pool needs: object, images, arguments, environment
 *   serve_seen.c      what of it other apps have needed already
 *   serve_volume.c     its persistent volumes
 *   serve_snapshot.c   and the snapshot that its instances start from
 *   serve_counts.c     or the memory in which they count, and the profile of it
 */
#ifndef HUTCH_TOOLS_SERVE_CLI_H
#define HUTCH_TOOLS_SERVE_CLI_H

#include "cache/cache.h"
#include "serve/serve.h"
#include "tools/arguments.h"
#include "tools/cli.h"

#include <sys/stat.h>

struct kit_seen;
struct kit_maker {
    const char *cache_dir;   /* NULL: the default place */
    const char *secrets_dir; /* where imported apps find their secrets */
    const char *profile_dir; /* where profiles of the apps are left; NULL: nothing is counted */
    struct compile_options compile;
    struct cache *cache; /* opened in the broker's process, at the first app */
    bool opened;
    const char *state_dir;      /* where persistent volumes lie; NULL: nowhere */
    struct kit_volume *volumes; /* holders that the broker is connected to */
    struct kit_seen *seen;      /* within one reading of the apps */
};
/* struct serve_options.make_kit; context is the struct kit_maker. */
enum status serve_kit_make(void *context, struct serve_kit *kit, struct error *err);
/* struct serve_options.read_name: an imported app. Its secrets lie in secrets_dir. */
enum status serve_kit_read_name(void *context, const char *name, struct app **ret_app,
                                struct error *err);
/* serve_seen.c: a descriptor of what was made of the file or directory before, in this reading
 * of the apps. ret_st is what stat(2) says of it, to be handed to serve_seen_keep. */
enum serve_seen_kind {
    SERVE_SEEN_MODULE,
    SERVE_SEEN_MOUNT
};
bool serve_seen_find(const struct kit_maker *m, enum serve_seen_kind kind, const char *path,
                     struct stat *ret_st, int *ret_fd);
void serve_seen_keep(struct kit_maker *m, enum serve_seen_kind kind, const char *path,
                     const struct stat *st, int fd);
/* struct serve_options.read_done */
void serve_seen_forget(void *context);

/* The control connection of a persistent volume's holder, which is started where it does not
 * run. ret_fd is the caller's. */
enum status serve_volume_open(struct kit_maker *m, const struct app *app,
                              const struct app_volume *volume, int *ret_fd,
                              struct error *err) must_check;
/* struct serve_options.mend_kit: volumes that have no holder, or whose holder has ended, get
 * one. */
enum status serve_kit_mend(void *context, struct serve_kit *kit, struct error *err);
/* Makes or finds the snapshot of an app that wants one, once the rest of the kit is there;
 * cache may be NULL. Says where it cannot. */
void serve_kit_snapshot(struct cache *cache, struct serve_kit *kit);

/* Gives the kit memory to count in; before its object is used. ST_INCOMPATIBLE where the
 * profile that lies there is of something else. */
enum status serve_counts_begin(struct kit_maker *m, struct serve_kit *kit,
                               struct error *err) must_check;
/* struct serve_options.keep_counts, .take_counts */
void serve_counts_keep(void *context, const struct serve_kit *kit);
void serve_counts_take(void *context, struct serve_kit *kit, struct serve_kit *old);

int cmd_serve(int argc, char **argv);

#endif
