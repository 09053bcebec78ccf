/*
 * snapshot: a guest that waits in a host call, as a file, and back. Private to runtime; the
 * functions are in runtime.h, the bytes in docs/snapshot.md.
 *
 *   snapshot_format.c   header and tables to bytes and back, every field checked
 *   snapshot_write.c    which pages differ, and the file
 *   snapshot_resume.c   a file to an instance in this process, and on from there
 *   snapshot_warm.c     the working set: recorded once, made present in one go
 *   snapshot_pages.c    which pages were touched
 *   snapshot_reset.c    back to the snapshot in the same process
 *   snapshot_return.c   pages that are as they were, given back
 *   snapshot_runs.c     pages joined to runs; what a page held at first
 *   hibernate.c         what differs from the snapshot, written to a descriptor, and put back
 *   hibernate_patch.c   pages of which a few words differ
 */
#ifndef HUTCH_RUNTIME_SNAPSHOT_H
#define HUTCH_RUNTIME_SNAPSHOT_H

#include "runtime/gate.h"
#include "runtime/instance.h"

#define SNAPSHOT_MAGIC "HUTCHSNP"
#define SNAPSHOT_VERSION 1u
#define HIBERNATED_MAGIC "HUTCHHIB"
#define HIBERNATED_VERSION 2u
#define SNAPSHOT_HEADER_BYTES 256u
#define SNAPSHOT_CRC_OFFSET 64u /* of the header and tables, with these 4 bytes zero */
#define SNAPSHOT_MAX_RUNS 4096u
#define SNAPSHOT_MAX_RANGES 65536u
#define SNAPSHOT_MAX_TABLE_BYTES (UINT32_C(16) << 20)
/* Shorter runs of the object's initial pages are kept in the snapshot: a mapping costs more. */
#define SNAPSHOT_IMAGE_MIN_PAGES 16u

/* Pages of the file at an address of the guest's. */
struct snapshot_run {
    uint64_t address, offset; /* offset in the file; both multiples of the host page */
    uint64_t size_bytes;
};
/* Pages that the first request after a resume used. */
struct snapshot_range {
    uint64_t address;
    uint32_t pages;
    bool written;
};

/* The header, decoded. */
struct snapshot_header {
    uint32_t tables_bytes; /* of header and tables */
    uint64_t file_bytes;
    uint64_t abi_fingerprint;
    struct digest module, object; /* of the Wasm bytes; the object's content digest */
    uint64_t created_ns;          /* real time */
    /* the pending call */
    uint32_t import;
    uint64_t guest_sp, enter_sp, slots;
    /* sizes in use of each region */
    uint64_t block_bytes, memory_bytes, files_bytes;
    uint32_t run_count, elem_count, data_count, config_bytes, wasi_bytes;
    /* the working set, at the end of the file; 0 where there is none */
    uint64_t warm_offset;
    uint32_t warm_count, warm_crc;
    /* of a hibernated guest alone */
    bool hibernated;
    struct digest base;   /* of the snapshot that it is a difference to; zeros: to none */
    uint32_t pages_crc;   /* of all runs, and what follows them */
    uint32_t patch_bytes; /* pages of which few words differ, behind the runs; whole words */
};

/* Runs as they are collected; owned. */
struct snapshot_runs {
    struct snapshot_run *at;
    uint32_t count, capacity;
    bool failed; /* out of memory */
};

struct snapshot {
    int fd;
    struct snapshot_header header;
    const struct snapshot_run *runs; /* by address */
    const uint8_t *elem_dropped, *data_dropped;
    const char *config; /* terminated */
    const uint8_t *wasi;
    const struct snapshot_range *ranges; /* by address; NULL until wanted */
    const uint8_t *original;             /* the whole file, mapped; NULL until a reset */
    const void *tables;                  /* header and tables */
    size_t tables_mapped;                /* 0: they are in the arena */
    bool once;                           /* its process answers one request */
    bool copied; /* into a process that goes on from it, and not mapped there */
    struct arena arena;
};

/* ---- snapshot_format.c ---- */
/* Bytes of a file. ST_DAMAGED where it is too short. */
enum status snapshot_read(int fd, uint64_t offset, void *to, size_t size_bytes,
                          struct error *err) must_check;
/* Appends header and tables; the file's digest stays zero. */
enum status snapshot_encode(const struct snapshot_header *header,
                            const struct snapshot_run *runs, const bool *elem_dropped,
                            const bool *data_dropped, const char *config,
                            const struct buffer *wasi, struct buffer *b,
                            struct error *err) must_check;
/* How large header and tables become. */
uint64_t snapshot_tables_bytes(const struct snapshot_header *header);
/* Reads the working set where it has not been read. ST_DAMAGED. */
enum status snapshot_read_ranges(struct snapshot *snapshot, struct error *err) must_check;
/* The file is not wanted any more, and may go; header and runs stay. */
void snapshot_let_go(struct snapshot *snapshot);
/* The region of an address map that [address, +size) lies in, by header: whether there is one.
 */
bool snapshot_run_fits(const struct snapshot_header *header, uint64_t address, uint64_t size);

/* ---- snapshot_runs.c ---- */
/* Adds a page, in order of address. */
void snapshot_runs_add(struct snapshot_runs *runs, uint64_t address);
/* Runs of one region that lie at most gap bytes apart become one. */
void snapshot_runs_join(struct snapshot_runs *runs, const struct snapshot_header *header,
                        uint64_t gap_bytes);
void snapshot_runs_finish(struct snapshot_runs *runs);
/*
 * What the first bytes of [address, +size) hold in a process that has just resumed base (NULL:
 * in a fresh one of the object alone): returns how many are of one kind, *ret_from is where
 * they are, NULL for zeros. base has been mapped by snapshot_map_original.
 */
uint64_t snapshot_original(const struct snapshot *base, const struct code *code,
                           uint64_t address, uint64_t size_bytes, const uint8_t **ret_from);
/* Maps the whole file, once. */
enum status snapshot_map_original(struct snapshot *snapshot, struct error *err) must_check;

/* ---- snapshot_write.c ---- */
/* The header of the guest that waits here, but for runs and sizes of the file, and its WASI
 * record. ST_UNSUPPORTED where it cannot be written out. */
enum status snapshot_begin(const struct instance *instance, const struct wasi *wasi,
                           const char *config, struct buffer *wasi_record,
                           struct snapshot_header *ret_header, struct error *err) must_check;
/* Whether a page is not written as it is; the copy is what is written then. */
bool snapshot_cleaned(const struct snapshot_header *header, uint64_t address,
                      uint8_t ret_page[ABI_HOST_PAGE]);

/* ---- snapshot_resume.c, snapshot_warm.c ---- */
/* ST_DAMAGED, ST_LIMIT where a run has no place in this process. */
enum status snapshot_check_run(const struct instance *instance, const struct snapshot_run *run,
                               struct error *err) must_check;
struct iovec;
void snapshot_populate(const struct iovec *list, size_t count, int advice);

/* ---- hibernate_patch.c ---- */
/* Appends the words of a page at address that differ from the original (NULL: zeros); false
 * where they are so many that the page is kept as a whole. */
bool patch_add(struct buffer *patches, uint64_t address, const uint8_t *page,
               const uint8_t *original);
/* Puts the words back over a guest that is as its snapshot has it, but for the runs.
 * ST_DAMAGED, before anything is changed. */
enum status patch_apply(const struct instance *instance, const struct snapshot *state,
                        const uint8_t *bytes, size_t size_bytes, struct error *err) must_check;

/* ---- hibernate.c ---- */
/* Puts the pages of a hibernated guest over what is there. */
enum status hibernate_put_back(struct instance *instance, const struct snapshot *state,
                               struct error *err) must_check;

/* Whether these initial pages of the object are left to it. */
static inline bool snapshot_leaves_image(const struct abi_page_run *run) {
    return run->count >= SNAPSHOT_IMAGE_MIN_PAGES;
}

#endif
