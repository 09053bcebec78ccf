/*
 * Arenas, the growing buffer and the cleanup attributes: who owns memory, in one place.
 * An arena is a chain of blocks; the newest is bumped. Blocks double in size from 1 KiB up to
 * 1 MiB, so that small modules stay small (thousands of tenants hold a few hundred bytes in
 * each of some arenas) and large ones need few calls of malloc.
 */
#include "base/base.h"

#include <stdarg.h>
#include <unistd.h>

struct arena_block {
    struct arena_block *next;
    size_t size, used; /* of the payload */
    _Alignas(16) uint8_t payload[];
};

void *arena_alloc(struct arena *arena, size_t size_bytes) {
    size_t size;
    if (add_overflows(size_bytes, (size_t)15, &size)) return NULL;
    size &= ~(size_t)15;
    if (size == 0) size = 16;
    struct arena_block *block = arena->head;
    if (!block || block->size - block->used < size) {
        if (arena->limit_bytes && size > arena->limit_bytes - arena->used_bytes) return NULL;
        size_t want = block ? block->size * 2 : 1024;
        if (want > (size_t)1 << 20) want = (size_t)1 << 20;
        if (want < size) want = size;
        size_t total;
        if (add_overflows(want, sizeof(struct arena_block), &total)) return NULL;
        block = malloc(total);
        if (!block) return NULL;
        *block = (struct arena_block){.next = arena->head, .size = want};
        arena->head = block;
    }
    if (arena->limit_bytes && size > arena->limit_bytes - arena->used_bytes) return NULL;
    void *result = block->payload + block->used;
    block->used += size;
    arena->used_bytes += size;
    return memset(result, 0, size);
}

void *arena_array(struct arena *arena, size_t count, size_t size_bytes) {
    size_t total;
    if (mul_overflows(count, size_bytes, &total)) return NULL;
    return arena_alloc(arena, total);
}

char *arena_string(struct arena *arena, const void *bytes, size_t length) {
    size_t size;
    if (add_overflows(length, (size_t)1, &size)) return NULL;
    char *copy = arena_alloc(arena, size);
    if (copy && length) memcpy(copy, bytes, length);
    return copy;
}

void arena_reset(struct arena *arena) {
    struct arena_block *keep = arena->head;
    if (!keep) return;
    struct arena_block *rest = keep->next;
    while (rest) {
        struct arena_block *next = rest->next;
        if (rest->size > keep->size) {
            free(keep);
            keep = rest;
        } else {
            free(rest);
        }
        rest = next;
    }
    keep->next = NULL;
    keep->used = 0;
    arena->head = keep;
    arena->used_bytes = 0;
}

void arena_finish(struct arena *arena) {
    struct arena_block *block = arena->head;
    while (block) {
        struct arena_block *next = block->next;
        free(block);
        block = next;
    }
    arena->head = NULL;
    arena->used_bytes = 0;
}

/* Room for size more bytes, or NULL with `failed` set. */
static uint8_t *grow(struct buffer *b, size_t size) {
    if (b->failed) return NULL;
    size_t need;
    if (add_overflows(b->size, size, &need)) goto fail;
    if (need > b->capacity) {
        size_t capacity = b->capacity ? b->capacity : 256;
        while (capacity < need)
            if (mul_overflows(capacity, (size_t)2, &capacity)) goto fail;
        uint8_t *bytes = realloc(b->bytes, capacity);
        if (!bytes) goto fail;
        b->bytes = bytes;
        b->capacity = capacity;
    }
    uint8_t *at = b->bytes + b->size;
    b->size = need;
    return at;
fail:
    b->failed = true;
    return NULL;
}

void buffer_put(struct buffer *b, const void *bytes, size_t size) {
    uint8_t *at = grow(b, size);
    if (at && size) memcpy(at, bytes, size);
}

void buffer_put_zero(struct buffer *b, size_t size) {
    uint8_t *at = grow(b, size);
    if (at && size) memset(at, 0, size);
}

void buffer_put_u8(struct buffer *b, uint8_t v) { buffer_put(b, &v, 1); }

void buffer_put_u16(struct buffer *b, uint16_t v) {
    uint8_t bytes[2] = {(uint8_t)v, (uint8_t)(v >> 8)};
    buffer_put(b, bytes, sizeof bytes);
}

void buffer_put_u32(struct buffer *b, uint32_t v) {
    uint8_t bytes[4];
    for (int i = 0; i < 4; i++) bytes[i] = (uint8_t)(v >> (8 * i));
    buffer_put(b, bytes, sizeof bytes);
}

void buffer_put_u64(struct buffer *b, uint64_t v) {
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)(v >> (8 * i));
    buffer_put(b, bytes, sizeof bytes);
}

void buffer_put_str(struct buffer *b, const void *bytes, size_t size) {
    if (size > UINT32_MAX) {
        b->failed = true;
        return;
    }
    buffer_put_u32(b, (uint32_t)size);
    buffer_put(b, bytes, size);
}

void buffer_align(struct buffer *b, size_t align) {
    buffer_put_zero(b, (size_t)(align_up(b->size, align) - b->size));
}

void buffer_printf(struct buffer *b, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0) {
        b->failed = true;
    } else {
        uint8_t *at = grow(b, (size_t)n + 1);
        if (at) {
            vsnprintf((char *)at, (size_t)n + 1, format, again);
            b->size--;
        }
    }
    va_end(again);
}

enum status buffer_status(const struct buffer *b, struct error *err) {
    return b->failed ? error_set(err, ST_NO_MEMORY, "out of memory") : ST_OK;
}

void buffer_finish(struct buffer *b) {
    free(b->bytes);
    *b = (struct buffer){0};
}

void cleanup_free(void *pointer_to_pointer) {
    void *pointer;
    memcpy(&pointer, pointer_to_pointer, sizeof pointer);
    free(pointer);
}

void cleanup_fd(int *fd) {
    if (*fd >= 0) close(*fd);
}

void cleanup_file(FILE **file) {
    if (*file) fclose(*file);
}
