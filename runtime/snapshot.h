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
 */
#ifndef HUTCH_RUNTIME_SNAPSHOT_H
#define HUTCH_RUNTIME_SNAPSHOT_H

#include "runtime/gate.h"
#include "runtime/instance.h"

#define SNAPSHOT_MAGIC "HUTCHSNP"
#define SNAPSHOT_VERSION 1u
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
    void *tables;                        /* header and tables, mapped */
    size_t tables_mapped;
    struct arena arena;
};

/* ---- snapshot_format.c ---- */
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
/* The region of an address map that [address, +size) lies in, by header: whether there is one.
 */
bool snapshot_run_fits(const struct snapshot_header *header, uint64_t address, uint64_t size);

/* Whether these initial pages of the object are left to it. */
static inline bool snapshot_leaves_image(const struct abi_page_run *run) {
    return run->count >= SNAPSHOT_IMAGE_MIN_PAGES;
}

#endif
