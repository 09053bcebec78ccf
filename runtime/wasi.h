/*
 * wasi: the inside of WASI preview1. A guest's view of the system is a table of descriptors and
 * 46 functions over it; the functions take the guest's memory and plain integers, know nothing
 * of instances, and return a WASI errno, so that they can be called from a test.
 *
 *   wasi.c          create and destroy; arguments, environment, random, process
 *   wasi_mount.c    preopened directories: of the host, images, in memory
 *   wasi_state.c    all of it to bytes and back, for snapshots
 *   wasi_resolve.c  imports to functions, slots to parameters (wasi_functions.def)
 *   wasi_errno.c    host errno to WASI errno
 *   wasi_table.c    the descriptor table, fd_close, fd_renumber, rights, prestat
 *   wasi_fd.c       attributes of open files: stat, flags, sizes, times, sync, advice
 *   wasi_io.c       read, write, seek, sockets, on guest memory itself
 *   wasi_dir.c      fd_readdir
 *   wasi_beneath.c  one path, resolved beneath a directory: the wall
 *   wasi_path.c     the path_ functions on top of it
 *   wasi_poll.c     clocks and poll_oneoff
 *   wasi_request.c  the request socket: the next request as an accepted connection
 *   wasi_accept.c   a file that accepts it when it is opened
 *   wasi_watch.c   runs that are looked at, and told the same time and random numbers
 *   wasi_environ.c  the environment, and another one for a program that was frozen with it
 *   wasi_image.c    the same for descriptors that stand for files in an image
 *   wasi_files.c    and for files in memory (memfs.h)
 *   wasi_volume.c   and for files of a volume, which another process holds (volume.h)
 *
 * Invariants: every guest address goes through guest_range or guest_array; no host path is
 * built from a guest path but by wasi_beneath.c; nothing is allocated but in wasi_create and
 * when the table grows; no static state.
 */
#ifndef HUTCH_RUNTIME_WASI_H
#define HUTCH_RUNTIME_WASI_H

#include "runtime/runtime.h"

#include <poll.h>
#include <sys/uio.h>

struct memfs;

enum wasi_errno {
    WASI_OK = 0,
#define WASI_ERRNO(name, number) WASI_E##name = number,
#include "runtime/wasi_errno.def"
    WASI_ENOTCAPABLE = 76,
};
enum wasi_errno wasi_errno_from_host(int host_errno);
/* Of errno. */
enum wasi_errno wasi_errno_last(void);

/* Which layout of structures and constants the guest was built for. */
enum wasi_abi {
    WASI_SNAPSHOT0,
    WASI_PREVIEW1
};

/* ---- constants of the witx files --------------------------------------------------------- */

enum wasi_filetype {
    WASI_FILETYPE_UNKNOWN,
    WASI_FILETYPE_BLOCK_DEVICE,
    WASI_FILETYPE_CHARACTER_DEVICE,
    WASI_FILETYPE_DIRECTORY,
    WASI_FILETYPE_REGULAR_FILE,
    WASI_FILETYPE_SOCKET_DGRAM,
    WASI_FILETYPE_SOCKET_STREAM,
    WASI_FILETYPE_SYMBOLIC_LINK,
};

/* clang-format off */
#define WASI_RIGHTS(X)                                                                         \
    X(FD_DATASYNC, 0)            X(FD_READ, 1)               X(FD_SEEK, 2)                     \
    X(FD_FDSTAT_SET_FLAGS, 3)    X(FD_SYNC, 4)               X(FD_TELL, 5)                     \
    X(FD_WRITE, 6)               X(FD_ADVISE, 7)             X(FD_ALLOCATE, 8)                 \
    X(PATH_CREATE_DIRECTORY, 9)  X(PATH_CREATE_FILE, 10)     X(PATH_LINK_SOURCE, 11)           \
    X(PATH_LINK_TARGET, 12)      X(PATH_OPEN, 13)            X(FD_READDIR, 14)                 \
    X(PATH_READLINK, 15)         X(PATH_RENAME_SOURCE, 16)   X(PATH_RENAME_TARGET, 17)         \
    X(PATH_FILESTAT_GET, 18)     X(PATH_FILESTAT_SET_SIZE, 19)                                 \
    X(PATH_FILESTAT_SET_TIMES, 20)                           X(FD_FILESTAT_GET, 21)            \
    X(FD_FILESTAT_SET_SIZE, 22)  X(FD_FILESTAT_SET_TIMES, 23)                                  \
    X(PATH_SYMLINK, 24)          X(PATH_REMOVE_DIRECTORY, 25)                                  \
    X(PATH_UNLINK_FILE, 26)      X(POLL_FD_READWRITE, 27)    X(SOCK_SHUTDOWN, 28)              \
    X(SOCK_ACCEPT, 29)
/* clang-format on */
#define X(name, bit) static const uint64_t WASI_RIGHT_##name = UINT64_C(1) << (bit);
WASI_RIGHTS(X)
#undef X
#define WASI_RIGHTS_ALL ((UINT64_C(1) << 30) - 1)

enum {
    WASI_OFLAG_CREAT = 1,
    WASI_OFLAG_DIRECTORY = 2,
    WASI_OFLAG_EXCL = 4,
    WASI_OFLAG_TRUNC = 8
};
enum {
    WASI_FDFLAG_APPEND = 1,
    WASI_FDFLAG_DSYNC = 2,
    WASI_FDFLAG_NONBLOCK = 4,
    WASI_FDFLAG_RSYNC = 8,
    WASI_FDFLAG_SYNC = 16,
};
enum {
    WASI_LOOKUP_SYMLINK_FOLLOW = 1
};
enum {
    WASI_FST_ATIM = 1,
    WASI_FST_ATIM_NOW = 2,
    WASI_FST_MTIM = 4,
    WASI_FST_MTIM_NOW = 8
};
enum {
    WASI_CLOCK_REALTIME,
    WASI_CLOCK_MONOTONIC,
    WASI_CLOCK_PROCESS,
    WASI_CLOCK_THREAD
};
enum {
    WASI_EVENT_CLOCK,
    WASI_EVENT_FD_READ,
    WASI_EVENT_FD_WRITE
};
enum {
    WASI_EVENT_HANGUP = 1
};
enum {
    WASI_SUBCLOCK_ABSTIME = 1
};
enum {
    WASI_RI_PEEK = 1,
    WASI_RI_WAITALL = 2,
    WASI_RO_DATA_TRUNCATED = 1
};
enum {
    WASI_SD_RD = 1,
    WASI_SD_WR = 2
};

/* ---- the state --------------------------------------------------------------------------- */

#define WASI_MAX_DESCRIPTORS 4096u
#define WASI_MAX_SUBSCRIPTIONS 4096u
#define WASI_MAX_IOVECS 1024u /* of one system call: IOV_MAX of Linux */
#define WASI_PATH_SIZE 4096u  /* PATH_MAX of Linux, with the terminator */

/* What was preopened, whatever the guest has closed since. Stays where it is. */
struct wasi_mount {
    char *guest_path;
    uint32_t guest_path_length;
    bool read_only;
    bool in_memory; /* files in memory, the image (if any) beneath them */
    uint32_t memfs; /* number of the mount there, and what it may take */
    uint64_t limit_bytes, limit_inodes;
    bool volume;        /* host_fd is a session's socket (volume.h) */
    bool accepts;       /* the directory with the file that accepts (wasi_request.c) */
    int host_fd;        /* a directory of the host, borrowed by its descriptor; or -1 */
    struct image image; /* bytes is NULL where it is none */
    void *mapping;
    size_t mapping_bytes;
};

struct wasi_descriptor {
    bool used;
    bool owned;       /* the host descriptor is closed with this one */
    bool read_only;   /* beneath a read-only preopen: what would change the file system fails */
    bool requests;    /* the request socket: host_fd is -1 */
    bool request;     /* a stream that was accepted from it */
    bool preopen;     /* the directory of mount itself */
    bool volume;      /* a file of a volume: node is its number there, rights are kept there */
    uint8_t standard; /* 1 to 3: the standard stream of that number less 1 */
    uint8_t filetype;
    int host_fd; /* -1: a standard stream the host does not have; a file in an image */
    const struct wasi_mount *mount; /* NULL: nothing beneath a preopen */
    const struct image *image;      /* not NULL: node of it, and a position for reading */
    struct memfs *files;            /* not NULL: a file in memory: node, kept open; position */
    uint64_t node, position;
    uint16_t flags; /* fdflags of what has no host descriptor */
    uint64_t rights_base, rights_inheriting;
};

/* Strings as args_get and environ_get give them: one after the other, each with its NUL. */
struct wasi_strings {
    uint32_t count;
    uint32_t size_bytes;
    char *bytes;
};

/*
 * Where the guest has its environment, for a CGI program that is to be frozen once it has read
 * it and to go on with another request's: wasi_environ.c. More room is given than there is to
 * put there.
 */
#define WASI_SPARE_VARIABLES 256u
struct wasi_environ_room {
    bool reserved;                     /* there is to be room */
    uint32_t fixed_count, fixed_bytes; /* of the strings that stay */
    uint32_t asked;                    /* how often the guest has got it, up to 2 */
    uint32_t vector, buffer;           /* where it has it then */
};

/* Room for one call; too much for a stack, and nothing may be allocated there. One for all: a
 * call is over before the next one begins. */
union wasi_scratch {
    struct iovec iovecs[WASI_MAX_IOVECS];
    struct pollfd pollfds[WASI_MAX_SUBSCRIPTIONS];
    uint8_t bytes[32768]; /* directory entries */
};

struct wasi {
    struct wasi_descriptor *descriptors;
    uint32_t capacity;  /* all beyond are unused */
    uint32_t max_files; /* that the guest may open, beside what it was given; 0: no limit */
    struct wasi_strings args, env;
    bool keep_environment;     /* env is no part of what is put back */
    struct wasi_mount *mounts; /* one for each preopen */
    uint32_t mount_count;
    struct memfs *files;               /* of all mounts in memory; NULL where there are none */
    struct wasi_descriptor streams[3]; /* as they were given to the program */
    wasi_next_request next_request;
    void *next_request_context;
    int request_ready_fd;
    bool request_given;  /* by the last call of next_request */
    uint64_t generation; /* another one after each resume and reset; 0 before the first */
    struct wasi_environ_room room;
    struct wasi_watch *watch; /* borrowed; NULL: nobody looks */
    union wasi_scratch *scratch;
    size_t scratch_bytes; /* of it that calls have written since it was zero */
};

/* The process's one. */
union wasi_scratch *wasi_scratch_room(void);

/* Before that much of the room is written. */
static inline void wasi_scratch_use(struct wasi *w, size_t size_bytes) {
    if (w->scratch_bytes < size_bytes) w->scratch_bytes = size_bytes;
}

/* ---- guest memory ------------------------------------------------------------------------ */

/* size bytes at guest address, or NULL where they do not lie within the memory. */
static inline uint8_t *guest_range(struct guest_memory m, uint32_t address, uint64_t size) {
    if (address > m.size_bytes || size > m.size_bytes - address) return NULL;
    return m.base + address;
}
/* count elements of size bytes each. 32-bit times small: cannot wrap. */
static inline uint8_t *guest_array(struct guest_memory m, uint32_t address, uint32_t count,
                                   uint32_t size) {
    return guest_range(m, address, (uint64_t)count * size);
}
static inline void store_u16(uint8_t *to, uint16_t v) {
    to[0] = (uint8_t)v;
    to[1] = (uint8_t)(v >> 8);
}
static inline void store_u32(uint8_t *to, uint32_t v) {
    store_u16(to, (uint16_t)v);
    store_u16(to + 2, (uint16_t)(v >> 16));
}
static inline void store_u64(uint8_t *to, uint64_t v) {
    store_u32(to, (uint32_t)v);
    store_u32(to + 4, (uint32_t)(v >> 32));
}
static inline uint16_t load_u16(const uint8_t *from) {
    return (uint16_t)(from[0] | (unsigned)from[1] << 8);
}
static inline uint32_t load_u32(const uint8_t *from) {
    return load_u16(from) | (uint32_t)load_u16(from + 2) << 16;
}
static inline uint64_t load_u64(const uint8_t *from) {
    return load_u32(from) | (uint64_t)load_u32(from + 4) << 32;
}

/* ---- strings (wasi.c) ---------------------------------------------------------------------
 */

enum status wasi_strings_copy(struct wasi_strings *to, int count, const char *const *from,
                              const char *what, struct error *err) must_check;
/* Pointers to vector, bytes to buffer, as args_get and environ_get have it. */
enum wasi_errno wasi_strings_get(const struct wasi_strings *s, struct guest_memory m,
                                 uint32_t vector, uint32_t buffer);

/* ---- under watch (wasi_watch.c) -----------------------------------------------------------
 */

#define WASI_TAME_START_NS UINT64_C(4102444800000000000) /* 2100-01-01 */
/* Before each call. */
static inline void wasi_watched(struct wasi *w, const char *name,
                                const union abi_value *slots) {
    struct wasi_watch *watch = w->watch;
    if (!watch) return;
    watch->number++;
    if (watch->call) watch->call(watch->context, watch->number, name, slots);
}
enum wasi_errno wasi_tame_random(const struct wasi_watch *watch, uint8_t *to, uint32_t size);
uint64_t wasi_tame_time_ns(const struct wasi_watch *watch);

/* ---- descriptors (wasi_table.c) ---------------------------------------------------------- */

/* An open descriptor, or NULL. Valid until the table changes. */
struct wasi_descriptor *wasi_descriptor_at(struct wasi *w, uint32_t fd);
/* An open descriptor that has the rights, ENOTCAPABLE where it has not. */
enum wasi_errno wasi_descriptor_get(struct wasi *w, uint32_t fd, uint64_t rights,
                                    struct wasi_descriptor **ret_descriptor);
/* The lowest unused number; the table may grow and move for it. EMFILE where it is full. */
enum wasi_errno wasi_descriptor_reserve(struct wasi *w, uint32_t *ret_fd);
/* Makes number fd, unused and reserved, stand for an open host descriptor, which it owns. */
void wasi_descriptor_put(struct wasi *w, uint32_t fd, const struct wasi_descriptor *d);
/* The type of an open host descriptor. */
enum wasi_errno wasi_filetype_of_fd(int host_fd, uint8_t *ret_filetype);
/* The rights that make sense for a descriptor of this type. */
uint64_t wasi_rights_of_type(uint8_t filetype, int host_fd);

/* ---- preopens (wasi_mount.c) ------------------------------------------------------------- */

/* Takes the preopens over, also where it fails. */
enum status wasi_mounts_create(struct wasi *w, const struct wasi_config *config,
                               struct error *err) must_check;
void wasi_mounts_destroy(struct wasi *w);
/* The descriptor of a preopened directory, as the guest finds it. */
struct wasi_descriptor wasi_mount_descriptor(const struct wasi *w,
                                             const struct wasi_mount *mount);

/* ---- paths beneath a directory (wasi_beneath.c) ------------------------------------------ */

/* ENOSYS and the like where the kernel cannot confine paths. */
enum wasi_errno wasi_beneath_probe(int dir_fd);
/* Copies a path out of the guest. EFAULT, EINVAL (a NUL), ENAMETOOLONG, ENOENT (empty), EPERM
 * (absolute). */
enum wasi_errno wasi_path_load(struct guest_memory m, uint32_t address, uint32_t length,
                               char ret_path[WASI_PATH_SIZE]);
/* openat(2), but nothing outside of dir_fd is reached: EPERM where the path leads there. */
enum wasi_errno wasi_open_beneath(int dir_fd, const char *path, int flags, unsigned mode,
                                  int *ret_fd);
/*
 * The directory that holds the last component of a path, for a system call on exactly that
 * component. The name keeps one slash at its end where the path had any, so that the kernel
 * sees that a directory is meant; a kernel that follows symlinks for such a name must not get
 * it (slash says so).
 */
struct wasi_place {
    int dir_fd;
    int opened; /* -1, or dir_fd to be closed */
    char *name; /* in the path that was given */
    bool slash;
    bool dots; /* the name is "." or "..": the call must not be made */
};
/* Cuts path in place. Pair it with wasi_place_close. */
enum wasi_errno wasi_place_open(int dir_fd, char *path, struct wasi_place *ret_place);
void wasi_place_close(struct wasi_place *place);

/* ---- shared pieces ----------------------------------------------------------------------- */

/* Splits times of fd_ and path_filestat_set_times. EINVAL for flags that contradict. */
struct timespec;
enum wasi_errno wasi_times_load(uint64_t atim, uint64_t mtim, uint32_t flags,
                                struct timespec ret_times[2]);
struct stat;
uint8_t wasi_filetype_of_mode(unsigned mode);
#define WASI_FILESTAT_SIZE(abi) ((abi) == WASI_SNAPSHOT0 ? 56u : 64u)
void wasi_filestat_store(uint8_t *to, const struct stat *st, uint8_t filetype,
                         enum wasi_abi abi);
struct timespec wasi_timespec_of_ns(uint64_t ns);
/* Saturates: before 1970 is 0, beyond 2554 the largest. */
uint64_t wasi_ns_of_timespec(const struct timespec *ts);
int wasi_open_flags(uint32_t fdflags);

/* ---- file images (wasi_image.c) ---------------------------------------------------------- */

/* Maps an image; fd is not needed afterwards. */
enum status wasi_image_map(struct wasi_mount *to, int fd, struct error *err) must_check;
/* These are for descriptors with an image, after rights and addresses were looked at. */
enum wasi_errno wasi_image_read(const struct wasi_descriptor *d, const struct iovec *iovecs,
                                int count, uint64_t offset, uint32_t *ret_n);
enum wasi_errno wasi_image_size(const struct wasi_descriptor *d, uint64_t *ret_size);
enum wasi_errno wasi_image_filestat(const struct wasi_descriptor *d, uint8_t *to,
                                    enum wasi_abi abi);
enum wasi_errno wasi_image_path_filestat(const struct wasi_descriptor *d, const char *path,
                                         bool follow, uint8_t *to, enum wasi_abi abi);
/* writes: for writing, or to truncate. Fills in what the descriptor stands for. */
enum wasi_errno wasi_image_open(const struct wasi_descriptor *d, const char *path,
                                uint32_t oflags, bool follow, bool writes,
                                struct wasi_descriptor *ret_opened);
enum wasi_errno wasi_image_readlink(const struct wasi_descriptor *d, const char *path,
                                    uint8_t *to, uint32_t to_size, uint32_t *ret_n);
/* The answer to whoever would change the last component of path (which is cut), or make it. */
enum wasi_errno wasi_image_refuse(const struct wasi_descriptor *d, char *path, bool makes);
enum wasi_errno wasi_image_readdir(const struct wasi_descriptor *d, uint8_t *to, uint32_t size,
                                   uint64_t cookie, uint32_t *ret_n);

/* ---- files in memory (wasi_files.c) ------------------------------------------------------ */

/* These are for descriptors with files, after rights and addresses were looked at. */
void wasi_files_close(const struct wasi_descriptor *d);
enum wasi_errno wasi_files_read(const struct wasi_descriptor *d, const struct iovec *iovecs,
                                int count, uint64_t offset, uint32_t *ret_n);
/* An append goes to the end, wherever offset is. */
enum wasi_errno wasi_files_write(struct wasi_descriptor *d, const struct iovec *iovecs,
                                 int count, uint64_t offset, uint32_t *ret_n);
uint64_t wasi_files_size(const struct wasi_descriptor *d);
enum wasi_errno wasi_files_filestat(const struct wasi_descriptor *d, uint8_t *to,
                                    enum wasi_abi abi);
enum wasi_errno wasi_files_set_size(const struct wasi_descriptor *d, uint64_t size_bytes);
enum wasi_errno wasi_files_allocate(const struct wasi_descriptor *d, uint64_t offset,
                                    uint64_t size_bytes);
enum wasi_errno wasi_files_set_times(const struct wasi_descriptor *d,
                                     const struct timespec times[2]);
/* Fills in what the descriptor stands for. */
enum wasi_errno wasi_files_open(const struct wasi_descriptor *d, const char *path,
                                uint32_t oflags, bool follow, bool writes,
                                struct wasi_descriptor *ret_opened);
enum wasi_errno wasi_files_path_filestat(const struct wasi_descriptor *d, const char *path,
                                         bool follow, uint8_t *to, enum wasi_abi abi);
enum wasi_errno wasi_files_path_set_times(const struct wasi_descriptor *d, const char *path,
                                          bool follow, const struct timespec times[2]);
enum wasi_errno wasi_files_readlink(const struct wasi_descriptor *d, const char *path,
                                    uint8_t *to, uint32_t to_size, uint32_t *ret_n);
enum wasi_errno wasi_files_mkdir(const struct wasi_descriptor *d, const char *path);
enum wasi_errno wasi_files_rmdir(const struct wasi_descriptor *d, const char *path);
enum wasi_errno wasi_files_unlink(const struct wasi_descriptor *d, const char *path);
enum wasi_errno wasi_files_symlink(const struct wasi_descriptor *d, const char *target,
                                   const char *path);
/* One of the two may be no file in memory: EXDEV. */
enum wasi_errno wasi_files_link(const struct wasi_descriptor *from, const char *from_path,
                                const struct wasi_descriptor *to, const char *to_path);
enum wasi_errno wasi_files_rename(const struct wasi_descriptor *from, const char *from_path,
                                  const struct wasi_descriptor *to, const char *to_path);
enum wasi_errno wasi_files_readdir(const struct wasi_descriptor *d, uint8_t *to, uint32_t size,
                                   uint64_t cookie, uint32_t *ret_n);

/* ---- files of a volume (wasi_volume.c) --------------------------------------------------- */

/* The open descriptor where it is one of a volume, or NULL. The functions below are for those,
 * before rights are looked at; addresses that are no paths were. */
struct wasi_descriptor *wasi_volume_at(struct wasi *w, uint32_t fd);
/* The list is used up. offset NULL: at the file's position. */
enum wasi_errno wasi_volume_move(const struct wasi_descriptor *d, struct iovec *list, int count,
                                 bool writes, const uint64_t *offset, uint32_t *ret_n);
uint64_t wasi_volume_bytes_left(const struct wasi_descriptor *d);
enum wasi_errno wasi_volume_seek(const struct wasi_descriptor *d, uint64_t offset,
                                 uint32_t whence, enum wasi_abi abi, uint8_t *ret_offset);
enum wasi_errno wasi_volume_tell(const struct wasi_descriptor *d, uint8_t *ret_offset);
enum wasi_errno wasi_volume_close(const struct wasi_descriptor *d);
enum wasi_errno wasi_volume_sync(const struct wasi_descriptor *d, bool data_only);
enum wasi_errno wasi_volume_advise(const struct wasi_descriptor *d, uint64_t offset,
                                   uint64_t length, uint32_t advice);
enum wasi_errno wasi_volume_allocate(const struct wasi_descriptor *d, uint64_t offset,
                                     uint64_t length);
enum wasi_errno wasi_volume_fdstat(const struct wasi_descriptor *d, uint8_t to[24]);
enum wasi_errno wasi_volume_set_flags(const struct wasi_descriptor *d, uint32_t flags);
enum wasi_errno wasi_volume_set_rights(struct wasi_descriptor *d, uint64_t base,
                                       uint64_t inheriting);
enum wasi_errno wasi_volume_filestat(const struct wasi_descriptor *d, uint8_t *to,
                                     enum wasi_abi abi);
enum wasi_errno wasi_volume_set_size(const struct wasi_descriptor *d, uint64_t size_bytes);
enum wasi_errno wasi_volume_set_times(const struct wasi_descriptor *d, uint64_t atim,
                                      uint64_t mtim, uint32_t flags);
enum wasi_errno wasi_volume_readdir(const struct wasi_descriptor *d, uint8_t *to, uint32_t size,
                                    uint64_t cookie, uint32_t *ret_n);
enum wasi_errno wasi_volume_open(struct wasi *w, struct guest_memory m, uint32_t fd,
                                 uint32_t dirflags, uint32_t path, uint32_t length,
                                 uint32_t oflags, uint64_t base, uint64_t inheriting,
                                 uint32_t fdflags, uint8_t *ret_fd);
enum wasi_errno wasi_volume_path_filestat(const struct wasi_descriptor *d,
                                          struct guest_memory m, uint32_t flags, uint32_t path,
                                          uint32_t length, uint8_t *to, enum wasi_abi abi);
enum wasi_errno wasi_volume_path_set_times(const struct wasi_descriptor *d,
                                           struct guest_memory m, uint32_t flags, uint32_t path,
                                           uint32_t length, uint64_t atim, uint64_t mtim,
                                           uint32_t fst_flags);
enum wasi_errno wasi_volume_readlink(const struct wasi_descriptor *d, struct guest_memory m,
                                     uint32_t path, uint32_t length, uint8_t *to, uint32_t size,
                                     uint8_t *ret_n);
enum wasi_volume_change {
    WASI_VOLUME_MKDIR,
    WASI_VOLUME_RMDIR,
    WASI_VOLUME_UNLINK
};
enum wasi_errno wasi_volume_change(const struct wasi_descriptor *d, struct guest_memory m,
                                   enum wasi_volume_change change, uint32_t path,
                                   uint32_t length);
enum wasi_errno wasi_volume_symlink(const struct wasi_descriptor *d, struct guest_memory m,
                                    uint32_t target, uint32_t target_length, uint32_t path,
                                    uint32_t length);
/* One of the two may be no file of a volume. */
enum wasi_errno wasi_volume_rename(struct wasi *w, struct guest_memory m, uint32_t fd,
                                   uint32_t path, uint32_t length, uint32_t new_fd,
                                   uint32_t new_path, uint32_t new_length);
enum wasi_errno wasi_volume_link(struct wasi *w, struct guest_memory m, uint32_t fd,
                                 uint32_t flags, uint32_t path, uint32_t length,
                                 uint32_t new_fd, uint32_t new_path, uint32_t new_length);
/* All files of the guest are closed, the directory has its rights again. */
enum wasi_errno wasi_volume_restart(const struct wasi_mount *mount);

/* ---- the request socket (wasi_request.c) ------------------------------------------------- */

/* Makes the descriptor; the number must be unused. Before preopens take theirs. */
enum status wasi_requests_add(struct wasi *w, const struct wasi_config *config,
                              struct error *err) must_check;
/* Accepts the next request: the answer of sock_accept, after rights and flags were looked at.
 */
enum wasi_errno wasi_requests_accept(struct wasi *w, struct wasi_descriptor *d, uint32_t flags,
                                     uint8_t *ret_fd);
/* Whether a stream that was accepted is still open. */
bool wasi_requests_open(const struct wasi *w);

/* The directory of the file that accepts: a mount and its descriptor. There is room for both.
 */
enum status wasi_accepts_add(struct wasi *w, struct error *err) must_check;
#define WASI_ACCEPTS_RIGHTS                                                                    \
    (WASI_RIGHT_PATH_OPEN | WASI_RIGHT_PATH_CREATE_FILE | WASI_RIGHT_PATH_FILESTAT_SET_SIZE |  \
     WASI_RIGHT_PATH_FILESTAT_GET | WASI_RIGHT_FD_FILESTAT_GET | WASI_RIGHT_FD_READDIR)
static inline bool wasi_accepts(const struct wasi_descriptor *d) {
    return d->mount && d->mount->accepts;
}
/* These are for descriptors of that directory, after rights and addresses were looked at. */
enum wasi_errno wasi_accepts_open(struct wasi *w, const struct wasi_descriptor *d,
                                  const char *path, uint32_t oflags, uint64_t base,
                                  uint64_t inheriting, uint32_t fdflags, uint8_t *ret_fd);
void wasi_accepts_filestat(uint8_t *to, enum wasi_abi abi);
enum wasi_errno wasi_accepts_path_filestat(const char *path, uint8_t *to, enum wasi_abi abi);
uint32_t wasi_accepts_readdir(uint8_t *to, uint32_t size, uint64_t cookie);

/* After a resume: the generation is another (wasi.c). */
void wasi_renew(struct wasi *w);
/* After a reset: and what a call before it left in scratch is gone. */
void wasi_forget(struct wasi *w);

/* ---- the functions, one for each line of wasi_functions.def ------------------------------ */

/* clang-format off */
#define WASI_CALL(name, ...) \
    enum wasi_errno wasi_##name(struct wasi *w, struct guest_memory m, __VA_ARGS__)
WASI_CALL(args_get, uint32_t argv, uint32_t buffer);
WASI_CALL(args_sizes_get, uint32_t ret_count, uint32_t ret_size);
WASI_CALL(environ_get, uint32_t envp, uint32_t buffer);
WASI_CALL(environ_sizes_get, uint32_t ret_count, uint32_t ret_size);
WASI_CALL(clock_res_get, uint32_t clock, uint32_t ret_ns);
WASI_CALL(clock_time_get, uint32_t clock, uint64_t precision_ns, uint32_t ret_ns);
WASI_CALL(fd_advise, uint32_t fd, uint64_t offset, uint64_t length, uint32_t advice);
WASI_CALL(fd_allocate, uint32_t fd, uint64_t offset, uint64_t length);
WASI_CALL(fd_close, uint32_t fd);
WASI_CALL(fd_datasync, uint32_t fd);
WASI_CALL(fd_fdstat_get, uint32_t fd, uint32_t ret_stat);
WASI_CALL(fd_fdstat_set_flags, uint32_t fd, uint32_t flags);
WASI_CALL(fd_fdstat_set_rights, uint32_t fd, uint64_t base, uint64_t inheriting);
WASI_CALL(fd_filestat_get, uint32_t fd, uint32_t ret_stat, enum wasi_abi abi);
WASI_CALL(fd_filestat_set_size, uint32_t fd, uint64_t size);
WASI_CALL(fd_filestat_set_times, uint32_t fd, uint64_t atim, uint64_t mtim, uint32_t flags);
WASI_CALL(fd_pread, uint32_t fd, uint32_t iovs, uint32_t iovs_len, uint64_t offset, uint32_t ret_n);
WASI_CALL(fd_prestat_get, uint32_t fd, uint32_t ret_prestat);
WASI_CALL(fd_prestat_dir_name, uint32_t fd, uint32_t path, uint32_t path_len);
WASI_CALL(fd_pwrite, uint32_t fd, uint32_t iovs, uint32_t iovs_len, uint64_t offset, uint32_t ret_n);
WASI_CALL(fd_read, uint32_t fd, uint32_t iovs, uint32_t iovs_len, uint32_t ret_n);
WASI_CALL(fd_readdir, uint32_t fd, uint32_t buf, uint32_t buf_len, uint64_t cookie, uint32_t ret_n);
WASI_CALL(fd_renumber, uint32_t fd, uint32_t to);
WASI_CALL(fd_seek, uint32_t fd, uint64_t offset, uint32_t whence, uint32_t ret_offset, enum wasi_abi abi);
WASI_CALL(fd_sync, uint32_t fd);
WASI_CALL(fd_tell, uint32_t fd, uint32_t ret_offset);
WASI_CALL(fd_write, uint32_t fd, uint32_t iovs, uint32_t iovs_len, uint32_t ret_n);
WASI_CALL(path_create_directory, uint32_t fd, uint32_t path, uint32_t path_len);
WASI_CALL(path_filestat_get, uint32_t fd, uint32_t flags, uint32_t path, uint32_t path_len, uint32_t ret_stat, enum wasi_abi abi);
WASI_CALL(path_filestat_set_times, uint32_t fd, uint32_t flags, uint32_t path, uint32_t path_len, uint64_t atim, uint64_t mtim, uint32_t fst_flags);
WASI_CALL(path_link, uint32_t old_fd, uint32_t old_flags, uint32_t old_path, uint32_t old_len, uint32_t new_fd, uint32_t new_path, uint32_t new_len);
WASI_CALL(path_open, uint32_t fd, uint32_t dirflags, uint32_t path, uint32_t path_len, uint32_t oflags, uint64_t base, uint64_t inheriting, uint32_t fdflags, uint32_t ret_fd);
WASI_CALL(path_readlink, uint32_t fd, uint32_t path, uint32_t path_len, uint32_t buf, uint32_t buf_len, uint32_t ret_n);
WASI_CALL(path_remove_directory, uint32_t fd, uint32_t path, uint32_t path_len);
WASI_CALL(path_rename, uint32_t old_fd, uint32_t old_path, uint32_t old_len, uint32_t new_fd, uint32_t new_path, uint32_t new_len);
WASI_CALL(path_symlink, uint32_t old_path, uint32_t old_len, uint32_t fd, uint32_t new_path, uint32_t new_len);
WASI_CALL(path_unlink_file, uint32_t fd, uint32_t path, uint32_t path_len);
WASI_CALL(poll_oneoff, uint32_t in, uint32_t out, uint32_t count, uint32_t ret_n, enum wasi_abi abi);
WASI_CALL(proc_raise, uint32_t signal);
WASI_CALL(random_get, uint32_t buf, uint32_t buf_len);
enum wasi_errno wasi_sched_yield(struct wasi *w, struct guest_memory m);
WASI_CALL(sock_accept, uint32_t fd, uint32_t flags, uint32_t ret_fd);
WASI_CALL(sock_recv, uint32_t fd, uint32_t iovs, uint32_t iovs_len, uint32_t flags, uint32_t ret_n, uint32_t ret_flags);
WASI_CALL(sock_send, uint32_t fd, uint32_t iovs, uint32_t iovs_len, uint32_t flags, uint32_t ret_n);
WASI_CALL(sock_shutdown, uint32_t fd, uint32_t how);
#undef WASI_CALL
/* clang-format on */

#endif
