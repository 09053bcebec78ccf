/*
 * An app: what app.yaml says, checked, with every default filled in. Whoever serves apps reads
 * this and nothing of YAML.
 *
 *   app.def        every key: its section, how it is read, what it means; one table for the
 *                  reader, the JSON schema and the check of docs/app.md
 *   yaml_tree.c    bytes -> a bounded tree of nodes that know their line
 *   app_read.c     tree -> struct app, by the table
 *   app_values.c   one scalar -> a size, a time, a name, a path
 *   app_rules.c    what keys say of each other
 *   app_json.c     struct app -> JSON, which app_parse reads again
 *   app_schema.c   app.def -> the JSON schema
 *   app_site.c     a request's path -> the script or file that answers it
 *   app_files.c    a directory -> the files of apps; whether what they name is there
 *
 * docs/app.md describes every key. JSON is YAML: app_parse reads both.
 *
 * Ownership: a struct app owns every string in it (one arena); app_free gives all back.
 * Threads: a struct app is not changed after app_read. Errors: ST_INVALID for what is wrong in
 * the file, the message beginning with its name and line: `app.yaml:12: limits.memory: ...`;
 * ST_IO, ST_NO_MEMORY. Nothing that the file names (module, mounts, secrets) is opened here,
 * save by app_check_files.
 *
 *     struct app *app;
 *     if (app_read("app.yaml", &app, &err) != ST_OK) ...
 *     ...
 *     app_free(app);
 */
#ifndef HUTCH_SERVE_APP_H
#define HUTCH_SERVE_APP_H

#include "base/base.h"

/* How the guest gets its requests. X(constant, word) */
/* clang-format off */
#define APP_INTERFACES(X)                                                                      \
    X(APP_CGI,     "cgi")     /* _start for each request; RFC 3875 on stdin and stdout    */   \
    X(APP_FASTCGI, "fastcgi") /* accepts FastCGI connections on descriptor 0              */   \
    X(APP_HTTP,    "http")    /* accepts HTTP/1.1 connections on descriptor 3             */
#define APP_REUSES(X)                                                                          \
    X(APP_FRESH, "fresh") /* a new process for each request                               */   \
    X(APP_RESET, "reset") /* the same process, put back to the snapshot                   */   \
    X(APP_KEEP,  "keep")  /* the same process, as the request before left it              */
#define APP_SHARES(X)                                                                          \
    X(APP_SHARE_CODE, "code") /* compiled code lies in memory once for all tenants        */   \
    X(APP_SHARE_NONE, "none") /* this app has a copy: nobody can time what it runs        */
#define APP_VOLUME_KINDS(X)                                                                    \
    X(APP_PERSISTENT, "persistent") /* the node's disk, shared by the app's instances     */   \
    X(APP_PRIVATE,    "private")    /* in memory, one for each instance, gone with it     */
#define APP_SURVIVES(X)                                                                        \
    X(APP_SURVIVE_RESTART, "restart") /* hibernated state outlives `hutch serve`          */   \
    X(APP_SURVIVE_REBOOT,  "reboot")  /* and the machine's restart                        */
/* clang-format on */

enum app_interface {
#define X(name, word) name,
    APP_INTERFACES(X)
#undef X
};
enum app_reuse {
#define X(name, word) name,
    APP_REUSES(X)
#undef X
};
enum app_share {
#define X(name, word) name,
    APP_SHARES(X)
#undef X
};
enum app_volume_kind {
#define X(name, word) name,
    APP_VOLUME_KINDS(X)
#undef X
};
enum app_survives {
#define X(name, word) name,
    APP_SURVIVES(X)
#undef X
};
/* The words of the lists above. */
const char *app_interface_word(enum app_interface value);
const char *app_reuse_word(enum app_reuse value);

/* ---- parts of an app --------------------------------------------------------------------- */

struct app_strings {
    const char **items;
    uint32_t count;
};

/* A file of the machine named in app.yaml is given as a path that is absolute, or relative to
 * the process's directory as app_read's path was. */

enum app_module_kind {
    APP_MODULE_FILE, /* text is the path of a .wasm file */
    APP_MODULE_NAME, /* text is name[:tag], name@sha256:HEX or sha256:HEX, for cache_name_* */
};
struct app_module {
    enum app_module_kind kind;
    const char *text;
};

struct app_variable {
    const char *name, *value;
};

/* An environment variable whose value is a file's content (one final newline taken off), read
 * by the broker when instances start; never part of a snapshot's file name, key or log. */
struct app_secret {
    const char *name, *file;
};

enum app_mount_kind {
    APP_MOUNT_PATH,   /* source is a directory, or a file that holds a file image (EROFS) */
    APP_MOUNT_DIGEST, /* source is "sha256:HEX": an image in the cache */
};
/* Read-only files. Two mounts never have the same path; the longest that fits a name wins. */
struct app_mount {
    enum app_mount_kind kind;
    const char *source;
    const char *path; /* in the guest: absolute, no "." or "..", no final '/' but of "/" */
};

/* A writable directory; a private one with a mount's path is a layer over it. */
struct app_volume {
    const char *name; /* of a persistent one, unique in the app; "" of a private one */
    const char *path; /* in the guest, as of a mount */
    enum app_volume_kind kind;
    uint64_t size_bytes;
    uint32_t files; /* the most files and directories; 0: as the size allows */
};

/* Requests for the app: the longest prefix of the most particular host wins. */
struct app_route {
    const char *host; /* lower case, no port; "*.example.com"; "" for any */
    const char *path; /* "/", or "/shop" for /shop and what is beneath /shop/ */
};

/* A limit that is broken ends the request (its instance too); the client gets a status. */
struct app_limits {
    uint64_t memory_bytes;   /* linear memory and private volumes of one instance */
    uint64_t stack_bytes;    /* guest stack */
    uint64_t cpu_ns;         /* CPU time of one request */
    uint64_t wall_ns;        /* one request, from its start in an instance to its end: 504 */
    uint64_t start_ns;       /* from an instance's start to its first accept */
    uint64_t body_bytes;     /* request body: 413 */
    uint64_t response_bytes; /* response body */
    uint64_t output_bytes;   /* written to the log by one request; more is cut off */
    uint32_t instances;      /* tenants at a time */
    uint32_t queue;          /* requests that wait for one: 503 beyond */
    uint64_t queue_ns;       /* how long they wait: 503 */
    uint32_t files;          /* descriptors open in the guest */
};

struct app_header {
    const char *name, *value;
};
/* A warm-up request, sent before the snapshot is taken. */
struct app_request {
    const char *method, *path; /* "GET", "/" */
    const struct app_header *headers;
    uint32_t header_count;
    const char *body; /* body_size bytes, terminated; "" */
    size_t body_size;
    uint64_t timeout_ns;
    struct app_expect {
        uint16_t statuses[8]; /* that are right; none: 200 to 399 */
        uint32_t count;
        const char *body_includes, *body_regex; /* "": any */
    } expect;
};
/* Sent with every warm-up request, so that an app can tell: the name Wasmer Edge uses. */
#define APP_WARMUP_HEADER "x-edge-instaboot"

struct app_instaboot {
    bool enabled; /* a snapshot is made on deploy: where instaboot or reuse: reset is given */
    const struct app_request *requests;
    uint32_t request_count;
    uint64_t max_age_ns;    /* of a kept snapshot, when the app is deployed; 0: any */
    bool secrets_at_resume; /* the adapter takes new values of env and secrets at resume */
};

/* For reuse: keep. */
struct app_hibernate {
    uint64_t idle_ns; /* an instance idle for so long is written out; 0: is kept */
    enum app_survives survives;
};

/* Scripts and files by path, as php-fpm behind nginx has them. Where root is "": none, the
 * module answers everything. */
struct app_site {
    const char *root;           /* directory in the guest: DOCUMENT_ROOT */
    struct app_strings index;   /* tried in a directory: index.php */
    struct app_strings scripts; /* endings of what the module runs: .php; none: every file */
    const char *fallback; /* what answers where there is no such file: /index.php; or "" */
    bool serve_files;     /* other files are sent by the front, from the image */
};

/* Something in the file that has no effect here, or that its author should hear of. */
struct app_note {
    uint32_t line;
    const char *text; /* "scaling: has no effect: ..." */
};

struct app {
    const char *file; /* as given, for messages: "app.yaml" */
    const char *name; /* lower-case letters, digits and '-', at most 63 */
    const char *description;
    struct app_module module;
    enum app_interface interface;
    const char *argv0; /* the program's name as the guest sees it */
    struct app_strings args;
    const struct app_variable *env;
    uint32_t env_count;
    const struct app_secret *secrets;
    uint32_t secret_count;
    const struct app_mount *mounts;
    uint32_t mount_count;
    const struct app_volume *volumes;
    uint32_t volume_count;
    const struct app_route *routes; /* at least one */
    uint32_t route_count;
    struct app_site site;
    struct app_limits limits;
    enum app_reuse reuse;
    uint32_t reuse_requests; /* an instance is replaced after so many; 0: never */
    struct app_instaboot instaboot;
    struct app_hibernate hibernate;
    enum app_share share;
    bool debug; /* clients are told what went wrong */
    const struct app_note *notes;
    uint32_t note_count;
    struct arena arena; /* all of the above */
};

/* ---- scripts and files by path (app.site) -------------------------------------------------
 */

enum app_file_kind {
    APP_FILE_NONE,
    APP_FILE_REGULAR,
    APP_FILE_DIRECTORY
};
/* What lies at a path of the guest; links followed. */
typedef enum app_file_kind (*app_file_lookup)(void *context, const char *guest_path);

enum app_target_kind {
    APP_TARGET_SCRIPT,    /* the program runs guest_path */
    APP_TARGET_FILE,      /* the front sends guest_path */
    APP_TARGET_DIRECTORY, /* a directory without a final '/': redirect to the path with one */
    APP_TARGET_NONE       /* not found */
};
struct app_target {
    enum app_target_kind kind;
    char guest_path[4096]; /* SCRIPT_FILENAME */
    /* A script's: its path beneath the route (SCRIPT_NAME without the route's), and what
     * follows it in the request's path (PATH_INFO, "" or from a '/' on). */
    char script_name[4096], path_info[4096];
};
/*
 * path: the request's beneath the app's route, decoded, beginning with '/'. What begins with a
 * dot is not found, save beneath /.well-known; nor what is longer than the texts above.
 */
void app_site_find(const struct app_site *site, const char *path, app_file_lookup lookup,
                   void *context, struct app_target *ret_target);

/* ---- reading and writing ----------------------------------------------------------------- */

#define APP_FILE_MAX_BYTES (256u << 10)

/* path: the file, or a directory that holds app.yaml. ST_INVALID, ST_NOT_FOUND, ST_IO. */
enum status app_read(const char *path, struct app **ret_app, struct error *err) must_check;
/* The same from memory. file: what messages call it. directory: what paths are relative to. */
enum status app_parse(const void *bytes, size_t size, const char *file, const char *directory,
                      struct app **ret_app, struct error *err) must_check;
void app_free(struct app *app); /* NULL does nothing */

/*
 * Appends the files of apps that path means, in the order of their names: path itself where it
 * is a file; DIR/app.yaml; else every DIR/NAME.yaml and DIR/NAME/app.yaml. ST_NOT_FOUND where
 * there is none.
 */
enum status app_find_files(const char *path, struct arena *arena, struct app_strings *files,
                           struct error *err) must_check;
/* ST_INVALID where two apps have the same name, or routes of the same host and path. */
enum status app_conflicts(struct app *const *apps, uint32_t count,
                          struct error *err) must_check;
/* That what the file names is there and of the right kind: the module file, directories,
 * images, secrets (which others must not be able to read). */
enum status app_check_files(const struct app *app, struct error *err) must_check;

/* Appends the app as JSON, defaults included, which app_parse reads to the same struct app. The
 * same app gives the same bytes. */
enum status app_json(const struct app *app, struct buffer *b, struct error *err) must_check;
/* Appends docs/app.schema.json. */
enum status app_schema(struct buffer *b, struct error *err) must_check;

#endif
