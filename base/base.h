/*
 * base: what every other folder stands on. Errors carried as values, arenas, a bounds-checked
 * reader for hostile bytes, a growing byte buffer, SHA-256, atomic publishing of files, and
 * the cleanup attributes.
 *
 * Ownership: whoever declares a struct owns it; nothing here keeps a pointer to a caller's
 * memory beyond the call unless the comment says so. Threads: no global state; one object, one
 * thread. Errors: a function that can fail returns enum status and fills the caller's struct
 * error.
 *
 *     struct error err = {0};
 *     auto_buffer struct buffer b = {0};
 *     if (file_read(AT_FDCWD, "app.wasm", 1u << 30, &b, &err) != ST_OK)
 *         return error_wrap(&err, "compile %s", "app.wasm");
 */
#ifndef HUTCH_BASE_H
#define HUTCH_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define must_check __attribute__((warn_unused_result))
#define printf_like(fmt, args) __attribute__((format(printf, fmt, args)))

/* ---- errors ------------------------------------------------------------------------------ */

/* The kinds of failure. The second column is the word a person or a test reads. */
/* clang-format off */
#define STATUS_LIST(X)                                                                         \
    X(ST_OK,            "ok")                                                                  \
    X(ST_MALFORMED,     "malformed")            /* bytes break the binary format        */     \
    X(ST_INVALID,       "invalid")              /* well-formed, breaks a validation rule */    \
    X(ST_UNSUPPORTED,   "unsupported")          /* a feature we do not have             */     \
    X(ST_LIMIT,         "limit exceeded")       /* an implementation limit              */     \
    X(ST_UNLINKABLE,    "unlinkable")           /* import missing or of another type    */     \
    X(ST_INCOMPATIBLE,  "incompatible")         /* object from another ABI, CPU, build  */     \
    X(ST_DAMAGED,       "damaged")              /* digest or structure does not hold    */     \
    X(ST_NOT_FOUND,     "not found")                                                           \
    X(ST_NO_MEMORY,     "out of memory")                                                       \
    X(ST_IO,            "input/output error")   /* errno says which                     */     \
    X(ST_USAGE,         "usage")                                                               \
    X(ST_TRAP,          "trap")                 /* the guest trapped while starting     */     \
    X(ST_EXIT,          "exit")                 /* the guest asked to end               */     \
    X(ST_INTERNAL,      "internal error")       /* a broken promise of our own          */
/* clang-format on */

enum status {
#define X(name, text) name,
    STATUS_LIST(X)
#undef X
};

/* The word of the second column. */
const char *status_text(enum status status);

#define ERROR_NO_OFFSET UINT64_MAX

/* A failure on its way up. Zero-initialise it; no function keeps or frees anything in it. */
struct error {
    enum status status;
    int saved_errno;      /* 0 where no system call failed */
    bool has_offset;      /* wasm_offset holds */
    uint64_t wasm_offset; /* bytes from the start of the module */
    char message[512];    /* cut with "..." where longer, always terminated */
};

/* Sets err (if not NULL) and returns status, for `return error_set(...)` at the source. */
enum status error_set(struct error *err, enum status status, const char *format, ...)
    printf_like(3, 4);
/* The same, for a failed system call: appends ": " and the text of errno. */
enum status error_set_errno(struct error *err, enum status status, const char *format, ...)
    printf_like(3, 4);
/* The same, with the byte offset in the module where the trouble lies. */
enum status error_set_at(struct error *err, enum status status, uint64_t wasm_offset,
                         const char *format, ...) printf_like(4, 5);
/* Puts "context: " before the message on the way up; returns err->status. */
enum status error_wrap(struct error *err, const char *format, ...) printf_like(2, 3);

/* Always on: a broken invariant of the sandbox ends the process. */
#define CHECK(cond)                                                                            \
    do {                                                                                       \
        if (__builtin_expect(!(cond), 0)) check_failed(#cond, __FILE__, __LINE__);             \
    } while (0)
void check_failed(const char *condition, const char *file, int line)
    __attribute__((noreturn, cold));

/* ---- cleanup attributes ------------------------------------------------------------------ */

void cleanup_free(void *pointer_to_pointer);
void cleanup_fd(int *fd);
void cleanup_file(FILE **file);
#define auto_free __attribute__((cleanup(cleanup_free)))
#define auto_fd __attribute__((cleanup(cleanup_fd))) /* initialise to -1 */
#define auto_file __attribute__((cleanup(cleanup_file)))
#define auto_buffer __attribute__((cleanup(buffer_finish)))
#define auto_arena __attribute__((cleanup(arena_finish)))

/* For large arrays that are zero at first: behind all that is small, so that what a process
 * writes of its own data lies together. */
#define far_zeros __attribute__((section(".lbss")))
/* For what every tenant writes: in one page with libc's own, which are not zero at first. */
#define near_data __attribute__((section(".data")))

/* Hands a descriptor over: returns it and leaves -1 behind. */
static inline int steal_fd(int *fd) {
    int taken = *fd;
    *fd = -1;
    return taken;
}
/* Hands a pointer over: returns it and leaves NULL behind. */
#define steal(pointer)                                                                         \
    __extension__({                                                                            \
        __typeof__(pointer) taken_ = (pointer);                                                \
        (pointer) = NULL;                                                                      \
        taken_;                                                                                \
    })

/* ---- checked arithmetic ------------------------------------------------------------------ */

/* true where the result does not fit; the result is then unspecified. */
#define add_overflows(a, b, ret) __builtin_add_overflow(a, b, ret)
#define mul_overflows(a, b, ret) __builtin_mul_overflow(a, b, ret)

/* value rounded up to a multiple of align, a power of two. The caller rules out wrap-around. */
static inline uint64_t align_up(uint64_t value, uint64_t align) {
    return (value + align - 1) & ~(align - 1);
}

#define countof(array) (sizeof(array) / sizeof((array)[0]))

/* ---- arenas ------------------------------------------------------------------------------ */

/*
 * Bump allocation, freed all at once. Zero-initialised is empty and valid. Memory returned is
 * zeroed and 16-byte aligned. arena_alloc returns NULL when out of memory (or over limit_bytes,
 * where that is not 0), and a caller turns that into ST_NO_MEMORY.
 */
struct arena_block;
struct arena {
    struct arena_block *head;
    size_t used_bytes, limit_bytes;
};
void *arena_alloc(struct arena *arena, size_t size_bytes) must_check;
/* count objects of size_bytes each, with the product checked. count 0 gives a valid pointer. */
void *arena_array(struct arena *arena, size_t count, size_t size_bytes) must_check;
/* A terminated copy of length bytes. */
char *arena_string(struct arena *arena, const void *bytes, size_t length) must_check;
/* Gives everything back but keeps the largest block for reuse. */
void arena_reset(struct arena *arena);
void arena_finish(struct arena *arena);

/* ---- byte buffer ------------------------------------------------------------------------- */

/*
 * Bytes that grow. Zero-initialised is empty and valid. Appending after an allocation failed
 * does nothing and leaves `failed` set, so that a writer checks once at its end
 * (buffer_status).
 */
struct buffer {
    uint8_t *bytes;
    size_t size, capacity;
    bool failed;
};
void buffer_put(struct buffer *b, const void *bytes, size_t size);
void buffer_put_zero(struct buffer *b, size_t size);
void buffer_put_u8(struct buffer *b, uint8_t v);
void buffer_put_u16(struct buffer *b, uint16_t v); /* these are little-endian */
void buffer_put_u32(struct buffer *b, uint32_t v);
void buffer_put_u64(struct buffer *b, uint64_t v);
void buffer_put_str(struct buffer *b, const void *bytes, size_t size); /* u32 length, bytes */
void buffer_align(struct buffer *b, size_t align); /* pads with zeros to a multiple */
void buffer_printf(struct buffer *b, const char *format, ...) printf_like(2, 3);
enum status buffer_status(const struct buffer *b, struct error *err) must_check;
void buffer_finish(struct buffer *b);

/* ---- bounded reader ---------------------------------------------------------------------- */

/*
 * A cursor over bytes that are not trusted. A read past the end sets `failed`, returns 0 and
 * stays failed; the caller checks after a group of reads. Borrows the bytes.
 */
struct reader {
    const uint8_t *start, *at, *end;
    bool failed;
};
static inline struct reader reader_over(const void *bytes, size_t size) {
    const uint8_t *p = bytes;
    return (struct reader){.start = p, .at = p, .end = p + size};
}
static inline size_t reader_left(const struct reader *r) { return (size_t)(r->end - r->at); }
static inline size_t reader_offset(const struct reader *r) {
    return (size_t)(r->at - r->start);
}
uint8_t reader_u8(struct reader *r);
uint16_t reader_u16(struct reader *r); /* little-endian */
uint32_t reader_u32(struct reader *r);
uint64_t reader_u64(struct reader *r);
/* size bytes, borrowed; NULL (and failed) where fewer are left. */
const uint8_t *reader_bytes(struct reader *r, size_t size);

/* LEB128 (spec core 5.2.2), strict: at most ceil(bits/7) bytes, unused bits as the sign says.
 */
enum leb_result {
    LEB_OK,
    LEB_TRUNCATED,
    LEB_TOO_LONG,
    LEB_TOO_LARGE
};
enum leb_result reader_leb_u32(struct reader *r, uint32_t *ret) must_check;
enum leb_result reader_leb_u64(struct reader *r, uint64_t *ret) must_check;
enum leb_result reader_leb_s32(struct reader *r, int32_t *ret) must_check;
enum leb_result reader_leb_s33(struct reader *r, int64_t *ret) must_check;
enum leb_result reader_leb_s64(struct reader *r, int64_t *ret) must_check;

/* true where the bytes are well-formed UTF-8 (Unicode 15, table 3-7). */
bool utf8_valid(const uint8_t *bytes, size_t size);

/* ---- digests ----------------------------------------------------------------------------- */

struct digest {
    uint8_t bytes[32]; /* SHA-256 */
};
#define DIGEST_HEX_SIZE 65 /* 64 digits and the terminator */
struct digest digest_of(const void *bytes, size_t size);
/* The same piece by piece; holds nothing that must be given back. */
struct digest_stream {
    uint64_t state[14];
};
void digest_start(struct digest_stream *stream);
void digest_add(struct digest_stream *stream, const void *bytes, size_t size);
struct digest digest_end(struct digest_stream *stream);
bool digest_equal(const struct digest *a, const struct digest *b);
void digest_hex(const struct digest *digest, char ret_hex[DIGEST_HEX_SIZE]);
/* CRC-32C, continued from crc (~0 to begin with), not inverted at the end. */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t size);

/* ---- files ------------------------------------------------------------------------------- */

/* Appends a whole file to b. ST_LIMIT where it is over limit_bytes, ST_IO with errno. */
enum status file_read(int dir_fd, const char *path, size_t limit_bytes, struct buffer *b,
                      struct error *err) must_check;
/* The same of an open file, from where it stands; path is for messages. */
enum status file_read_fd(int fd, const char *path, size_t limit_bytes, struct buffer *b,
                         struct error *err) must_check;
/*
 * Publishes bytes as dir_fd/path, all or nothing: temporary name in the same directory, write,
 * fsync, rename over, fsync the directory. mode as for open(2). ST_IO with errno; nothing is
 * left behind on failure.
 */
enum status file_publish(int dir_fd, const char *path, const void *bytes, size_t size,
                         unsigned mode, struct error *err) must_check;

#endif
