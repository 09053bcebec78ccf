/*
 * runtime: instances of mapped code objects, traps with backtraces, and WASI preview1.
 *
 *   instance.c    link imports, lay out the instance block, initialise        (spec core 4.5)
 *   memory.c, table.c   linear memories and tables, and the helpers for them
 *   gate_x86_64.S, gate.c   crossing between guest stack and host stack
 *   trap.c        signals to traps; unwind.c, lines.c: the Wasm backtrace
 *   wasi*.c       WASI preview1
 *   image*.c      file images: read-only trees of files, read where they are mapped
 *   memfs*.c      files in memory, in one region that a snapshot can save
 *   snapshot*.c   a guest that waits in a host call, as a file, and back
 *
 * Ownership: the caller keeps the mapped code and all arguments alive as long as an instance
 * uses them. Threads: one thread of a process runs guests. A pinned process holds at most one
 * instance at a time. Errors before guest code runs are enum status; what the guest then does
 * is an enum call_result.
 *
 *     if (runtime_init(1 << 20, &err) != ST_OK) ...
 *     if (instance_create(&code, &limits, resolve, context, &instance, &err) != ST_OK) ...
 *     result = instance_initialise(instance, &report);
 *     if (result == CALL_RETURNED) result = instance_call(instance, func, slots, &report);
 */
#ifndef HUTCH_RUNTIME_H
#define HUTCH_RUNTIME_H

#include "abi/abi.h"

struct instance;

/* A code object mapped into this process. The loader fills it in; docs/object-format.md. */
struct code {
    const struct abi_object *object;
    const uint8_t *file; /* the whole file, mapped read-only */
    uint64_t file_size;
    int fd;        /* of the file: pages of the image are mapped from it */
    uint8_t *text; /* where .text is executable */
    uint64_t bias; /* address of a byte minus its address in the file's program headers */
    /* Where functions, exports, segments and names of the object have not been decoded: does
     * that. NULL: they have. */
    enum status (*complete)(struct code *code, struct error *err);
};
/* Before those parts of code->object are looked at. */
enum status code_complete(const struct code *code, struct error *err) must_check;

/* ---- the process ------------------------------------------------------------------------- */

/*
 * Once per process, before the first instance: signal handlers on an alternate stack, and the
 * guest stack of stack_bytes with its guard. Placement decides where the guest stack lies. The
 * calling thread is the one that runs guests.
 */
enum status runtime_init(enum abi_placement placement, uint64_t stack_bytes,
                         struct error *err) must_check;
void runtime_finish(void);
/* Makes the guest stack smaller, or larger again up to what runtime_init made, before a guest
 * runs. ST_LIMIT where it cannot be. */
enum status runtime_limit_stack(uint64_t stack_bytes, struct error *err) must_check;
/* For a process that will be one of many pinned ones: reserves the address ranges of its
 * instance, which need not be mapped then. */
enum status runtime_reserve(struct error *err) must_check;
/* For a process that waits for its app: what the runtime writes in any case is made present. */
void runtime_touch(void);
/* Makes traps and backtraces aware of code / forgets it. The struct is borrowed until then. */
enum status runtime_add_code(const struct code *code, struct error *err) must_check;
void runtime_remove_code(const struct code *code);
/* From a signal handler or before a call: the guest ends with TRAP_INTERRUPT as soon as it runs
 * guest code or returns from a host call. Stays wanted until the outermost call has ended. */
void runtime_interrupt(void);
/* Interrupts the guest after that much wall-clock time; 0 takes the timeout and any interrupt
 * that is still wanted back. SIGALRM is the runtime's. A host call blocked in the kernel ends
 * with EINTR, again and again until it gives up; one that repeats such a call asks
 * runtime_interrupt_pending() first. */
enum status runtime_set_timeout(uint64_t nanoseconds, struct error *err) must_check;
bool runtime_interrupt_pending(void);

/* ---- values and calls -------------------------------------------------------------------- */

enum host_result {
    HOST_OK,
    HOST_TRAP, /* instance_set_trap said which */
    HOST_EXIT, /* instance_set_exit said with which code */
};
/* A function of the host. Parameters come in slots, results go back into them. */
typedef enum host_result (*host_function)(void *context, struct instance *caller,
                                          union abi_value *slots);

/* What an import is bound to. */
enum extern_source {
    EXTERN_HOST,
    EXTERN_INSTANCE
};
struct extern_value {
    enum abi_extern_kind kind;
    enum extern_source source;
    /* EXTERN_INSTANCE: an export of another instance (relocatable only) */
    struct instance *instance;
    uint32_t index; /* in the index space of kind */
    /* EXTERN_HOST */
    host_function function;
    void *context;
    struct functype function_type;
    struct abi_table_type table; /* a fresh one of this type is made for the importer */
    struct abi_limits memory;    /* likewise */
    struct abi_global_type global;
    union abi_value global_value;
};
/* Finds what satisfies an import: true and *ret filled, or false where there is nothing. */
typedef bool (*import_resolver)(void *context, const struct abi_import *import,
                                const struct abi_type *function_type, struct extern_value *ret);

struct instance_limits {
    uint64_t max_memory_bytes;  /* of each memory; 0: what the type allows */
    uint32_t max_table_entries; /* 0: 10 million */
};

enum call_result {
    CALL_RETURNED,
    CALL_TRAPPED,
    CALL_EXITED
};

#define REPORT_MAX_FRAMES 64
struct trap_frame {
    const struct code *code;
    uint32_t function;    /* index in its module */
    uint64_t wasm_offset; /* of the instruction; 0 where not known */
};
/* Why a call did not return. */
struct trap_report {
    enum abi_trap trap;
    char detail[160];       /* more words, may be empty */
    uint64_t fault_address; /* memory faults: offset in memory 0, or UINT64_MAX */
    int exit_code;
    uint32_t frame_count;
    bool frames_cut; /* there were more */
    struct trap_frame frames[REPORT_MAX_FRAMES];
};
/* The report as text, "error: wasm trap: ..." and a line a frame, into b. */
void trap_report_print(const struct trap_report *report, struct buffer *b);
/* The name of a function for people, from .hutch.names; "" where it has none. */
void code_function_name(const struct code *code, uint32_t function, char *ret_name,
                        size_t size);

/* ---- instances --------------------------------------------------------------------------- */

/*
 * Links and lays out. ST_UNLINKABLE names the import and both types; ST_LIMIT where memory or
 * tables are larger than the limits; ST_NO_MEMORY where address space cannot be reserved.
 */
enum status instance_create(const struct code *code, const struct instance_limits *limits,
                            import_resolver resolve, void *context,
                            struct instance **ret_instance, struct error *err) must_check;
/* Applies active segments in order, then runs the start function. Once. */
enum call_result instance_initialise(struct instance *instance,
                                     struct trap_report *ret_report) must_check;
void instance_destroy(struct instance *instance);

const struct code *instance_code(const struct instance *instance);
/* Finds an export; NULL where there is none. Borrowed. */
const struct abi_export *instance_export(const struct instance *instance, const char *name,
                                         size_t name_length);
/* Function by index as a reference, and its type. A reference from a table can be called too.
 */
struct abi_func *instance_func(struct instance *instance, uint32_t index);
const struct functype *instance_functype(const struct instance *instance, uint32_t index);
/* Calls a function: slots holds the parameters and is large enough for the results. */
enum call_result instance_call(struct instance *instance, const struct abi_func *func,
                               union abi_value *slots,
                               struct trap_report *ret_report) must_check;
union abi_value instance_global(const struct instance *instance, uint32_t index);

/* Whether the object counts what it does: was compiled with profile_generate. */
bool instance_counts(const struct instance *instance);
/*
 * Appends the profile of all that has run so far, added to one of the same object that is there
 * already (before_size 0: none). ST_INCOMPATIBLE where that one is of another.
 */
enum status instance_profile(const struct instance *instance, const uint8_t *before,
                             size_t before_size, struct buffer *b,
                             struct error *err) must_check;
/*
 * Has the instance count in shared memory: fd is a file of at least counters_size bytes
 * (abi_profile_shape) that cannot shrink. Whoever else counts there counts along; two that do
 * so at the same moment may lose a count. What was counted until then is left behind.
 */
enum status instance_share_counters(struct instance *instance, int fd,
                                    struct error *err) must_check;
/* The profile of such memory, of instances of an object compiled for the pinned placement;
 * tables is its .hutch.profile. As instance_profile. */
enum status counters_profile(const struct abi_object *object, const uint8_t *tables,
                             const void *counters, const uint8_t *before, size_t before_size,
                             struct buffer *b, struct error *err) must_check;

/* For host functions. */
struct guest_memory {
    uint8_t *base;
    uint64_t size_bytes;
};
struct guest_memory instance_memory(const struct instance *instance, uint32_t memory);
/* Whether a memory ever failed to grow because of its limit. */
bool instance_memory_refused(const struct instance *instance);
void instance_set_trap(struct instance *instance, enum abi_trap trap, const char *detail);
void instance_set_exit(struct instance *instance, int code);

/* ---- file images ------------------------------------------------------------------------- */

/*
 * A read-only tree of files in one file, in a subset of EROFS (docs/images.md), read where it
 * is mapped. Every byte may be hostile: whatever is followed is bounds-checked when it is used,
 * and what comes out lies within the image. Nothing is allocated; any number of threads may
 * read.
 */
struct image {
    const uint8_t *bytes; /* borrowed; must not shrink while in use */
    uint64_t size_bytes;
    uint64_t meta_at; /* where inode 0 would lie */
    uint64_t root;    /* inode number, as all that follow */
    uint64_t inode_count;
    uint64_t time_s; /* of inodes that have no time of their own */
    uint32_t time_ns;
    uint64_t id; /* from the image's uuid; the same for the same image */
};
enum image_type {
    IMAGE_FILE,
    IMAGE_DIRECTORY,
    IMAGE_SYMLINK,
    IMAGE_SPECIAL /* a device or the like, which nothing can be done with */
};
/* An inode, checked: its data lies within the image. */
struct image_node {
    uint64_t number;
    enum image_type type;
    uint16_t mode; /* permission bits */
    uint32_t links;
    uint64_t size_bytes, mtime_s;
    uint32_t mtime_ns;
    /* The data: plain_bytes in whole blocks, the rest behind the inode. */
    uint64_t plain_bytes;
    const uint8_t *plain, *tail;
};
/* A directory entry. The name is borrowed, has no NUL at its end and may hold any byte. */
struct image_entry {
    uint64_t number, next; /* next: the position of the one after it */
    enum image_type type;
    uint32_t name_length;
    const uint8_t *name;
};
enum image_result {
    IMAGE_OK,
    IMAGE_ABSENT,        /* no such name; no more entries */
    IMAGE_NOT_DIRECTORY, /* something beneath, or a slash behind, what is none */
    IMAGE_ESCAPES,       /* leads above the start, or is absolute */
    IMAGE_LOOPS,         /* more than 40 symbolic links */
    IMAGE_TOO_LONG,      /* a name of over 255 bytes, a path of over 4095 */
    IMAGE_INVALID,       /* no position of an entry */
    IMAGE_DAMAGED
};
#define IMAGE_PATH_SIZE 4096u
#define IMAGE_MAX_DEPTH 128u /* of directories, where a whole image is checked or written */

/* ST_MALFORMED for what is no image, ST_UNSUPPORTED for a feature not read, ST_DAMAGED. */
enum status image_open(const void *bytes, uint64_t size_bytes, struct image *ret_image,
                       struct error *err) must_check;
enum image_result image_node(const struct image *image, uint64_t number,
                             struct image_node *ret_node) must_check;
/* The bytes of a node from offset on that lie in one piece; NULL (and 0) from its end on. */
const uint8_t *image_data(const struct image_node *node, uint64_t offset, uint64_t *ret_size);
/* The entry at a position (0: the first) of a directory. */
enum image_result image_entry_at(const struct image *image, const struct image_node *directory,
                                 uint64_t position, struct image_entry *ret_entry) must_check;
/* One name of a directory, by binary search. */
enum image_result image_find(const struct image *image, const struct image_node *directory,
                             const char *name, size_t name_length,
                             uint64_t *ret_number) must_check;
/* A path, confined to what lies beneath directory start. Symbolic links on the way are
 * followed; one at the end is where follow says so, or where a slash stands behind it. */
enum image_result image_walk(const struct image *image, uint64_t start, const char *path,
                             bool follow, struct image_node *ret_node) must_check;
/* Everything there is to check: each inode and entry, order, `.` and `..`, types, depth. */
enum status image_check(const struct image *image, struct error *err) must_check;

/* ---- WASI preview1 ----------------------------------------------------------------------- */

/*
 * The state of one WASI program. It owns the descriptors given to it. Sources: the preview1
 * witx documents and the official test suite.
 */
struct wasi;

struct wasi_preopen {
    int fd; /* a directory opened with O_PATH or O_RDONLY; owned by wasi then */
    const char *guest_path;
    bool read_only;
    bool image;  /* fd is a file image, opened O_RDONLY */
    bool memory; /* a directory in memory (fd -1); of an image: a writable layer over it */
    bool volume; /* fd is the socket of a session: the directory is another process's */
    /* memory: what the guest may write, 0 for the default; a file takes whole pages and a bit
     */
    uint64_t size_bytes;
    uint64_t inodes; /* memory: files and directories it may make; 0: as size_bytes allows */
};
#define WASI_FILES_DEFAULT_BYTES (UINT64_C(64) << 20)
/*
 * "Give me the next request." Returns 0 and a connected stream socket, which wasi owns from
 * then on and the guest reads, writes and closes like any other, or a host errno for the guest:
 * EAGAIN where nonblock and there is none yet. EINTR is for runtime_interrupt_pending() alone:
 * the guest then ends with TRAP_INTERRUPT. Asking again ends the request before: its answer is
 * complete, and a stream that the guest has left open is the guest's own mistake (its host
 * descriptor is shut down first, so that the peer sees the end). Nothing of the guest has
 * changed since its call when next_request is called: what is written out there (a snapshot)
 * goes on by making the same call again. Called on the host's stack; may end the process.
 */
typedef int (*wasi_next_request)(void *context, bool nonblock, int *ret_fd);
struct wasi_config {
    int argc;
    const char *const *argv;
    int envc;
    const char *const *env; /* "NAME=VALUE" */
    bool keep_environment;  /* in wasi_state_restore: env above, not the record's */
    uint32_t preopen_count;
    const struct wasi_preopen *preopens;
    int stdio[3];       /* borrowed descriptors, -1 for none */
    uint32_t max_files; /* open at a time beside the above and the request: EMFILE; 0: 4096 */
    /*
     * The request socket: where next_request is not NULL, the guest's descriptor number
     * request_socket is one: 0 (FastCGI; stdin then does not exist) or 3 (HTTP; preopens follow
     * from 4 on). sock_accept on it calls next_request; with O_NONBLOCK, and where there is a
     * request_ready_fd, only once the accepted stream is closed (EAGAIN before). poll_oneoff
     * says that it can be read once request_ready_fd can, and when the accepted stream has been
     * closed and next_request has not been called since; without request_ready_fd (-1),
     * whenever no accepted stream is open.
     */
    wasi_next_request next_request;
    void *next_request_context;
    uint32_t request_socket;
    int request_ready_fd; /* borrowed */
    bool tame; /* files in memory know one time and no random numbers: see wasi_watch */
};
/* Strings and arrays are copied. */
enum status wasi_create(const struct wasi_config *config, struct wasi **ret_wasi,
                        struct error *err) must_check;
void wasi_destroy(struct wasi *wasi);
/* For a program that was linked before its request was known, before it runs: other
 * environment, other standard streams (the former are forgotten, not closed). */
enum status wasi_set_environment(struct wasi *wasi, int envc, const char *const *env,
                                 struct error *err) must_check;
enum status wasi_set_stdio(struct wasi *wasi, const int stdio[3], struct error *err) must_check;
/* From within next_request: pages where calls lay things aside are no memory of this process,
 * until a call needs them. */
void wasi_give_back(struct wasi *wasi);
/*
 * A CGI program that is frozen after its start-up and goes on with another request. Before it
 * runs: from here on it is given room for more variables than it has; the first fixed_count of
 * them stay. Where it goes on: the others are replaced, in its memory too where it has asked
 * for them. ST_LIMIT where there is no room for so many.
 */
enum status wasi_reserve_environment(struct wasi *wasi, uint32_t fixed_count,
                                     struct error *err) must_check;
bool wasi_environment_reserved(const struct wasi *wasi);
enum status wasi_request_environment(struct wasi *wasi, struct guest_memory memory, int envc,
                                     const char *const *env, struct error *err) must_check;
/* How often the guest has asked for it, up to 2: from then on it has more than one copy. */
uint32_t wasi_environment_asked(const struct wasi *wasi);
/* Where in its memory the request's variables are: pointers, strings. Empty: nowhere yet. */
struct wasi_request_range {
    uint32_t address, size_bytes;
};
void wasi_environment_range(const struct wasi *wasi, struct wasi_request_range ret[2]);

/*
 * Watching a program's calls: call (may be NULL) is told the number and name of each before it
 * has an effect, and may write the program out (snapshot_write), or end the process. tame:
 * clocks and random numbers follow from number and seed alone, for comparing runs; never for a
 * program that serves anyone. watch is borrowed; NULL ends it.
 */
struct wasi_watch {
    void (*call)(void *context, uint64_t number, const char *name,
                 const union abi_value *slots);
    void *context;
    uint64_t number; /* of the last call; where it starts is the caller's */
    bool tame;
    uint32_t seed; /* tame: other numbers and another time */
};
void wasi_watch(struct wasi *wasi, struct wasi_watch *watch);
/* Whether a call has to do with a CGI program's request or answer: it reads stdin, writes
 * stdout, waits, or ends the program. */
bool wasi_call_is_request(const char *name, const union abi_value *slots);

/* An import_resolver for the modules "wasi_snapshot_preview1" and "wasi_unstable"; context is
 * the struct wasi. */
bool wasi_resolve(void *context, const struct abi_import *import,
                  const struct abi_type *function_type, struct extern_value *ret);

/* ---- WASI's state, for snapshots (docs/files.md) ---------------------------------------- */

/*
 * Everything of a struct wasi that a guest can change is in two places: the region of files in
 * memory, to be saved as pages, and a short record of descriptors, arguments and environment.
 *
 *   save:            wasi_state_save(w, &record, &err); write the region's pages
 *   another process: wasi_create with the same preopens in the same order
 *   there, or here to go back: wasi_files_resize(w, used, &err); put the pages in place
 *                    (all, or those that differ); wasi_state_restore(w, record, size, ...)
 */

/* The region: at ABI_FILES_BASE, used_bytes a multiple of the host page; no host address in it,
 * nothing of it at its place (base NULL, 0) where no preopen is in memory. Beyond used_bytes
 * there is nothing to save. */
struct wasi_region {
    uint8_t *base;
    uint64_t used_bytes;
};
struct wasi_region wasi_files_region(const struct wasi *wasi);
/* Makes the first used_bytes accessible, and zero what was used beyond them; those within keep
 * what they hold. ST_INCOMPATIBLE where there is no region, ST_LIMIT beyond what the preopens
 * may take, ST_NO_MEMORY. */
enum status wasi_files_resize(struct wasi *wasi, uint64_t used_bytes,
                              struct error *err) must_check;
/* Appends the record; changes nothing. ST_UNSUPPORTED names a descriptor that cannot be saved:
 * an open file of a host directory, a connection. */
enum status wasi_state_save(const struct wasi *wasi, struct buffer *b,
                            struct error *err) must_check;
/* Makes wasi what was saved; the region's pages are in place. Standard streams, preopened
 * directories and images are those of wasi. keep_strings: arguments and environment too. Any
 * bytes are safe: ST_DAMAGED, or ST_INCOMPATIBLE where preopens differ, and wasi is as before.
 */
enum status wasi_state_restore(struct wasi *wasi, const void *record, size_t size_bytes,
                               bool keep_strings, struct error *err) must_check;

/* ---- volumes (docs/volumes.md) ----------------------------------------------------------- */

/*
 * A directory of the host for guests of several processes, with a limit of what it holds. One
 * process has it; each guest's process has a socket to it, its session, as a preopen.
 *
 *     volume_open(dir_fd, &volume, &err); volume_set_limits(volume, &limits);
 *     socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends);
 *     volume_session_open(volume, &session, &err);
 *     while (volume_session_serve(session, ends[0])) poll(...);
 *     volume_session_close(session);
 *
 * Nothing that comes over the socket is believed. Nobody else may change the directory
 * meanwhile. Threads: one.
 */
struct volume;
struct volume_session;
struct volume_limits {
    uint64_t bytes; /* files in whole pages, holes included; a page a directory or link */
    uint64_t names; /* 0: one for each VOLUME_BYTES_PER_NAME */
    uint32_t files; /* that one session may have open */
};
#define VOLUME_BYTES_PER_NAME 16384u
struct volume_use {
    uint64_t bytes, names;
};
/* Takes over dir_fd, in any case. Walks through everything there is. ST_IO, ST_UNSUPPORTED. */
enum status volume_open(int dir_fd, struct volume **ret_volume, struct error *err) must_check;
void volume_close(struct volume *volume); /* sessions too; NULL does nothing */
/* What is there already stays, however low the limits are. files: of new sessions. */
void volume_set_limits(struct volume *volume, const struct volume_limits *limits);
struct volume_use volume_use(const struct volume *volume);
enum status volume_session_open(struct volume *volume, struct volume_session **ret_session,
                                struct error *err) must_check;
void volume_session_close(struct volume_session *session);
/* Answers what waits at the socket, which does not block. false: the session is over, or its
 * other end says something that is none. */
bool volume_session_serve(struct volume_session *session, int socket) must_check;

/* ---- snapshots (docs/snapshot.md) -------------------------------------------------------- */

/*
 * A pinned guest that waits in a host call, as a file; another process, of the same build, maps
 * the file and makes the call again on the guest's behalf. The place to write one is
 * wasi_config.next_request.
 *
 *   there:  snapshot_write(instance, wasi, config, fd, &err)
 *   here:   snapshot_open, snapshot_check, runtime_init, wasi_create (the same preopens),
 *           snapshot_resume instead of instance_create, instance_continue instead of a call
 *   between requests, in next_request: snapshot_reset, snapshot_give_back
 *
 * config says in lines of text what the guest was given (arguments, environment, limits); who
 * resumes says it again, and a line that differs is the reason for refusing. A snapshot holds
 * addresses of code: it is to be trusted as much as the object it belongs to.
 */
#define SNAPSHOT_DIGEST_OFFSET 32u /* in the file: of the whole, with these 32 bytes zero */
struct snapshot;
struct snapshot_facts {
    struct digest module, object; /* of the Wasm bytes; the object's content digest */
    uint64_t abi_fingerprint, created_ns;
    uint64_t file_bytes, stored_bytes; /* stored: pages in the file */
    uint64_t memory_bytes, files_bytes, stack_bytes;
    uint32_t run_count, warm_ranges;
    const char *config; /* borrowed */
};

/*
 * Writes the guest to fd, an empty file open for reading and writing. Called in a host
 * function. ST_UNSUPPORTED says what cannot be written out: a relocatable or instrumented
 * object, several memories, a call within a call, an open connection; ST_IO where there is no
 * room.
 */
enum status snapshot_write(const struct instance *instance, const struct wasi *wasi,
                           const char *config, int fd, struct error *err) must_check;
/* Takes over fd, in any case. Reads header and tables alone. ST_DAMAGED, ST_INCOMPATIBLE (of
 * another format). */
enum status snapshot_open(int fd, struct snapshot **ret_snapshot, struct error *err) must_check;
/* The same, for a process that answers one request and ends: what is small is copied and not
 * mapped, so it can be neither reset nor given back. */
enum status snapshot_open_once(int fd, struct snapshot **ret_snapshot,
                               struct error *err) must_check;
void snapshot_close(struct snapshot *snapshot);
void snapshot_describe(const struct snapshot *snapshot, struct snapshot_facts *ret_facts);
/*
 * In a host call of a program whose environment has room (wasi_reserve_environment): a checksum
 * of all that would be in a snapshot, but for the request's variables. Two runs with other
 * requests that agree here have not looked at their requests yet. without_dead: nor what lies
 * below the stack pointer of a C program's own stack, as far as it can be told where that is.
 */
enum status snapshot_state(const struct instance *instance, struct wasi *wasi,
                           bool without_dead, uint32_t *ret_crc, struct error *err) must_check;
/* Where a snapshot that is written now would go on. In a host call. */
struct snapshot_point {
    uint32_t import;
    uint64_t guest_sp, slots;
};
struct snapshot_point snapshot_point(const struct instance *instance);
/* ST_INCOMPATIBLE says what differs: ABI, object, configuration (NULL: not compared). */
enum status snapshot_check(const struct snapshot *snapshot, const struct code *code,
                           const char *config, struct error *err) must_check;
/*
 * Makes the instance, and wasi what it was. Borrows snapshot until the instance is destroyed.
 * ST_LIMIT where it holds more than limits or the stack allow; ST_INCOMPATIBLE where wasi has
 * other preopens; wasi is then not to be used.
 */
enum status snapshot_resume(struct snapshot *snapshot, const struct code *code,
                            const struct instance_limits *limits, import_resolver resolve,
                            void *context, struct wasi *wasi, struct instance **ret_instance,
                            struct error *err) must_check;
/* Makes the pending host call again and goes on; like instance_call of the function that was
 * called first. Once. */
enum call_result instance_continue(struct instance *instance,
                                   struct trap_report *ret_report) must_check;
/*
 * For a process that answers one request after the other, each from the snapshot's state. From
 * within a host function (next_request, where a request has ended): the guest is left, put back
 * to its snapshot, and makes the pending call again; the host function's result does not count.
 * Only beneath instance_continue.
 */
void instance_restart(struct instance *instance);
/* What instance_continue does then. Nothing of what the guest did since the resume is left in
 * this process. Any failure leaves a guest that must not go on. */
enum status snapshot_reset(struct instance *instance, struct wasi *wasi,
                           struct error *err) must_check;
/* From within next_request, of an instance that went on from base, or from a hibernated guest
 * over it: pages that hold what base holds there are its file's again, and no memory of this
 * process. Nothing the guest can see changes. ST_UNSUPPORTED as snapshot_prepare. */
enum status snapshot_give_back(struct instance *instance, struct snapshot *base,
                               struct error *err) must_check;
/* Once in each process that records or resets, and after a fork: proc_fd is /proc, or -1 for
 * its usual place. ST_UNSUPPORTED where the kernel does not tell which pages were touched:
 * then a reset drops all of them, and nothing is recorded. */
enum status snapshot_prepare(int proc_fd, struct error *err) must_check;
/* Makes present, in one go, what the first request will touch, as far as that is known. */
void snapshot_prefault(struct snapshot *snapshot);
/* What has been touched since the resume, as a record for snapshot_add_ranges. */
enum status snapshot_record(const struct snapshot *snapshot, const struct instance *instance,
                            struct buffer *b, struct error *err) must_check;
/* Puts a record into a snapshot file that has none; before its digest is made. */
enum status snapshot_add_ranges(int fd, const void *record, size_t size_bytes,
                                struct error *err) must_check;

/* ---- hibernation (docs/snapshot.md) ------------------------------------------------------ */

/*
 * A guest that has been used and waits again, as what differs from the snapshot it began with;
 * its process can end then. The file comes from the process that the guest ran in, and is
 * believed no more than that: it goes back to the same app alone, in the same sandbox.
 *
 *   there:  hibernate_write(instance, wasi, base, config, max_bytes, fd, &err), in a host
 *           function as snapshot_write
 *   here:   hibernate_open, snapshot_check, hibernate_resume, instance_continue
 *
 * base: the snapshot it was resumed from; NULL: it began without one, or the file is not to
 * depend on any. (The same has to be said at both ends.)
 */
/* fd is only written to, with writev, from where it stands; the caller's. Whatever fails, the
 * guest is as it was. ST_UNSUPPORTED as of snapshot_write; ST_LIMIT: over max_bytes; ST_IO. */
enum status hibernate_write(const struct instance *instance, const struct wasi *wasi,
                            struct snapshot *base, const char *config, uint64_t max_bytes,
                            int fd, struct error *err) must_check;
/* Takes over fd, whose offset is 0, in any case. ST_DAMAGED, ST_INCOMPATIBLE. */
enum status hibernate_open(int fd, struct snapshot **ret_state, struct error *err) must_check;
/* The snapshot it is a difference to has this digest; false: to none. */
bool hibernate_base(const struct snapshot *state, struct digest *ret_base);
/* As snapshot_resume. Its pages are read and checked, so it takes time for each; afterwards
 * nothing more is read from the file. base and state are borrowed. */
enum status hibernate_resume(struct snapshot *state, const struct snapshot *base,
                             const struct code *code, const struct instance_limits *limits,
                             import_resolver resolve, void *context, struct wasi *wasi,
                             struct instance **ret_instance, struct error *err) must_check;

#endif
