/*
 * The `hutch` command, a file for each idea:
 *
 *   hutch.c          main: picks the command
 *   options.c        argv -> struct cli_options, from options.def
 *   values.c         "64M", "1.5s", "opt-level=2" -> numbers
 *   help.c           what --help prints
 *   cmd_compile.c    hutch compile
 *   cmd_run.c        hutch run: finds or makes the object, then becomes hutch-tenant
 *   cmd_snapshot.c   hutch snapshot: makes, lists and shows snapshots
 *   cmd_inspect.c    hutch inspect
 *   cmd_image.c      hutch image: makes and reads file images
 *   cmd_profile.c    hutch profile, and the profiles that run and compile take
 *   profile_text.c   a profile for people, and as JSON
 *   compile_child.c  the compiler as a child process, and the progress line
 *   object_cache.c   the object of a module: from the store, or compiled and kept
 *   stored_app.c     a name in the store -> module, images, arguments, variables
 *   cmd_cache.c      hutch cache: what the store holds, and its upkeep
 *   module_file.c    the bytes of a module, or why the file is none
 *   report.c         the one place that prints an error (report.h)
 *
 * LLVM is in `hutch-compiler` alone, a child process: a run from the cache never loads it, and
 * a module that makes it abort or run out of memory ends in a message of ours.
 */
#ifndef HUTCH_TOOLS_CLI_H
#define HUTCH_TOOLS_CLI_H

#include "base/base.h"
#include "compiler/compiler.h"
#include "tools/report.h"

/* ---- options.c ---- */
enum cli_command {
    CLI_RUN = 'R',
    CLI_COMPILE = 'C',
    CLI_SNAPSHOT = 'S', /* snapshot create */
};

struct cli_dir {
    const char *host, *guest;
    bool read_only, image, memory, volume;
    uint64_t size_bytes, inodes; /* memory, volume: limits, 0 for none said */
    char *owned, *owned_guest;   /* what of host and guest is a copy */
};

struct cli_options {
    struct compile_options compile;
    const char *output;
    const char *profile, *profile_out;
    const char *listen, *snapshot; /* where requests come from; what to go on from */
    bool fastcgi, cgi, no_prefault, reset;
    const char *name;      /* what a snapshot is called in the store */
    const char **requests; /* files of warm-up requests */
    uint32_t request_count;
    struct buffer profile_bytes; /* what compile.profile borrows */
    const char *argv0, *invoke;
    struct cli_dir *dirs;
    uint32_t dir_count;
    const char **env; /* "NAME=VALUE" or "NAME" */
    uint32_t env_count;
    const char *cache_dir; /* NULL: the default place */
    bool no_cache;
    bool allow_precompiled, help;
    uint64_t max_memory_bytes;            /* 0: no limit */
    uint64_t max_stack_bytes, timeout_ns; /* 0: none */
    /* what is left: the file, then the arguments */
    const char *file;
    int argument_count;
    char **arguments;
};
#define CLI_VOLUME_DEFAULT (UINT64_C(1) << 30)
#define CLI_FILES_MIN (UINT64_C(16) << 10)
#define CLI_FILES_MAX (UINT64_C(32) << 30)
#define CLI_STACK_DEFAULT (UINT64_C(8) << 20)
#define CLI_STACK_MIN (UINT64_C(64) << 10)
#define CLI_STACK_MAX (UINT64_C(1) << 30)

/* argv[0] is the command's name. ST_USAGE where they are wrong; the strings are borrowed. */
enum status cli_options_parse(enum cli_command command, int argc, char **argv,
                              struct cli_options *ret_options, struct error *err) must_check;
void cli_options_finish(struct cli_options *options);
/* The one of names (ended by NULL) that was probably meant, or NULL. */
const char *cli_near(const char *word, const char *const *names);

/* ---- values.c ---- */
/* "4096", "64K", "16M", "2G": bytes. */
enum status cli_parse_size(const char *text, uint64_t *ret_bytes, struct error *err) must_check;
/* "5s", "100ms", "1.5s", "2m", "1h", "10" (seconds): nanoseconds, at least 1. */
enum status cli_parse_duration(const char *text, uint64_t *ret_ns,
                               struct error *err) must_check;
/* "0" to "3", "fast", "opt-level=2". */
enum status cli_parse_level(const char *text, enum compile_level *ret_level,
                            struct error *err) must_check;

/* ---- help.c ---- */
void help_print(const char *command); /* NULL: the overview */
bool help_has(const char *command);

/* ---- module_file.c ---- */
/*
 * Appends the bytes of a module. Text format, code objects and other things that are no module
 * get their own message; ret_is_object is set (and ST_OK returned) where the file is a code
 * object and ret_is_object is not NULL.
 */
enum status module_file_read(const char *path, struct buffer *b, bool *ret_is_object,
                             struct error *err) must_check;
/* The same in two steps. */
enum status module_file_open(const char *path, int *ret_fd, struct error *err) must_check;
enum status module_file_read_fd(int fd, const char *path, struct buffer *b, bool *ret_is_object,
                                struct error *err) must_check;

/* ---- hutch.c ---- */
/* Becomes another program of hutch's, which gets the command and its arguments; returns an exit
 * status where it cannot. */
int cli_become(const char *program, int argc, char **argv);

/* ---- listen.c ---- */
/* "127.0.0.1:8080", "8080", "unix:PATH". */
enum status cli_listen(const char *text, int *ret_fd, struct error *err) must_check;

/* ---- cmd_run.c: what a command line gives a tenant ---- */
struct stored_app;
struct tenant_config;
/* Makes it the configuration of a CGI program: variables of a request go to the end. */
enum status cli_cgi_config(struct tenant_config *config, struct arena *arena,
                           struct error *err) must_check;
/* Finds or compiles, and opens, everything that the options name. The strings lie in the arena
 * and in ret_app, which the caller closes in any case. */
enum status cli_tenant_config(struct cli_options *options, struct arena *arena,
                              struct stored_app *ret_app, struct tenant_config *ret_config,
                              struct error *err) must_check;
/* Becomes hutch-tenant, with the descriptors of config and no others; returns where it cannot.
 */
enum status cli_become_tenant(const struct tenant_config *config, struct arena *arena,
                              struct error *err) must_check;

/* ---- stored_snapshot.c ---- */
/* Opens and checks the snapshot that options name, a file or a name of the store; and where
 * they name no module, the object that it belongs to. */
enum status cli_open_snapshot(const struct cli_options *options, int *ret_fd,
                              int *ret_object_fd, struct error *err) must_check;

/* ---- compile_child.c ---- */
/* Path of a program that belongs to hutch: beside this one, or in the libexec directory. */
enum status cli_find_program(const char *name, char *ret_path, size_t size,
                             struct error *err) must_check;
/* Compiles in a child; the object lies in a memory file, which the caller closes. */
enum status compile_in_child(const struct buffer *wasm, const char *name,
                             const struct compile_options *options, int *ret_object_fd,
                             struct error *err) must_check;
/* A memory file; close-on-exec. */
enum status cli_memory_file(const char *name, int *ret_fd, struct error *err) must_check;
/* Maps a whole file read-only; ret_bytes is NULL for an empty one. munmap gives it back. */
enum status cli_map_file(int fd, const uint8_t **ret_bytes, size_t *ret_size,
                         struct error *err) must_check;
enum status cli_write_all(int fd, const void *bytes, size_t size, struct error *err) must_check;

/* ---- object_cache.c ---- */
struct cache;
/* What a command wants the object of. */
struct object_wanted {
    const char *command, *file; /* for notes and the progress line */
    const struct compile_options *options;
    struct digest module;
    const struct buffer *wasm; /* NULL: the module is in the store, if anywhere */
    bool imported;             /* an object that was imported will do too */
    bool looked;               /* object_find has found none */
};
/* From the store. ST_NOT_FOUND. */
enum status object_find(struct cache *cache, const struct object_wanted *want, int *ret_fd,
                        struct error *err) must_check;
/* From the store, or compiled and kept there; cache may be NULL: compiled. The descriptor is
 * for reading; while it is open the store does not collect the object. */
enum status object_obtain(struct cache *cache, const struct object_wanted *want, int *ret_fd,
                          struct error *err) must_check;
/* Opens the store at path (NULL: the default). Where it cannot, says so and returns NULL. */
struct cache *object_cache_open(const char *path, const char *command, const char *file);
/* Everything there is to check about an object, its digest too; check_host: also whether it can
 * run here. ret_module is the module's digest. ST_DAMAGED, ST_INCOMPATIBLE. */
enum status object_file_check(int fd, bool check_host, struct abi_compat *ret_compat,
                              struct error *err) must_check;

/* ---- cmd_profile.c ---- */
/* Reads and checks the file of --profile, where there is one. */
enum status cli_profile_load(struct cli_options *options, struct error *err) must_check;
/* Opens (or makes) the file of --profile-out. ST_DAMAGED where it holds anything but a profile.
 */
enum status cli_profile_open_output(const char *path, int *ret_fd,
                                    struct error *err) must_check;

/* ---- the commands: exit statuses ---- */
int cmd_compile(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_profile(int argc, char **argv);
int cmd_image(int argc, char **argv);
int cmd_snapshot(int argc, char **argv);
int cmd_cache(int argc, char **argv);

#endif
