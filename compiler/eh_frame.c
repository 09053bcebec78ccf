/*
 * Unwind tables: .eh_frame of all partitions, one after the other, to a checked table with one
 * end, and the sorted search table .eh_frame_hdr over it (LSB 5.0 core 10.6). Both unwinders,
 * the runtime's and gdb's, find a function's rules by binary search.
 *
 * Only what LLVM writes for our code is known: augmentation "zR", or "zPLR" of functions with
 * handlers of exceptions, addresses relative to their field (those of handlers absolute in
 * pinned code). An FDE whose code does not lie in .text is an error.
 */
#include "compiler/link.h"

#define PCREL_SDATA4 0x1b
#define PCREL_SDATA8 0x1c
#define INDIRECT_PCREL_SDATA4 0x9b
#define UDATA4 0x03
#define DATAREL_SDATA4 0x3b

#define HEADER_BYTES 12u
#define ROW_BYTES 8u

/* One FDE of the table. */
struct fde {
    size_t offset; /* of its length field */
    size_t start;  /* of the field with the function's address */
    uint8_t encoding;
};
typedef enum status (*fde_visitor)(struct linker *l, const struct fde *fde, void *context);

static uint64_t leb(struct reader *r) {
    uint64_t v = 0;
    if (reader_leb_u64(r, &v) != LEB_OK) r->failed = true;
    return v;
}

/* The address encoding of a CIE's FDEs: 0 where it is not one we know. */
static uint8_t cie_encoding(struct reader r) {
    uint8_t version = reader_u8(&r);
    if (version != 1 && version != 3) return 0;
    const char *augmentation = (const char *)r.at;
    size_t length = 0;
    for (; reader_u8(&r) != 0; length++);
    bool handlers = length == 4 && memcmp(augmentation, "zPLR", 4) == 0;
    if (r.failed || (!handlers && (length != 2 || memcmp(augmentation, "zR", 2) != 0)))
        return 0;
    int64_t ignored;
    leb(&r);                                              /* code alignment */
    if (reader_leb_s64(&r, &ignored) != LEB_OK) return 0; /* data alignment */
    if (version == 1)
        reader_u8(&r); /* return address register */
    else
        leb(&r);
    leb(&r);        /* augmentation length */
    if (handlers) { /* the personality routine, which is null (link.c), and how tables lie */
        uint8_t routine = reader_u8(&r);
        if (routine != INDIRECT_PCREL_SDATA4 && routine != UDATA4) return 0;
        if (reader_u32(&r) != 0) return 0;
        uint8_t tables = reader_u8(&r);
        if (tables != PCREL_SDATA4 && tables != UDATA4) return 0;
    }
    uint8_t encoding = reader_u8(&r);
    return r.failed || (encoding != PCREL_SDATA4 && encoding != PCREL_SDATA8) ? 0 : encoding;
}

/* Calls visit for each FDE. */
static enum status each_fde(struct linker *l, fde_visitor visit, void *context) {
    const struct buffer *table = &l->out[OUT_EH_FRAME].bytes;
    struct reader r = reader_over(table->bytes, table->size);
    while (reader_left(&r) > 0) {
        size_t offset = reader_offset(&r);
        uint32_t length = reader_u32(&r);
        if (length == 0 && reader_left(&r) == 0) break; /* the end */
        const uint8_t *record = reader_bytes(&r, length);
        if (!record || length < 4)
            return error_set(l->err, ST_INTERNAL, ".eh_frame+0x%zx: malformed", offset);
        struct reader body = reader_over(record, length);
        size_t id_offset = offset + 4;
        uint32_t id = reader_u32(&body);
        uint8_t encoding;
        if (id == 0) {
            encoding = cie_encoding(body);
        } else { /* an FDE: id is how far back its CIE begins */
            if (id > id_offset)
                return error_set(l->err, ST_INTERNAL, ".eh_frame+0x%zx: no CIE", offset);
            struct reader cie = reader_over(table->bytes, table->size);
            reader_bytes(&cie, id_offset - id);
            uint32_t cie_length = reader_u32(&cie);
            const uint8_t *cie_record = reader_bytes(&cie, cie_length);
            encoding = 0;
            if (cie_record) {
                struct reader cie_body = reader_over(cie_record, cie_length);
                if (reader_u32(&cie_body) == 0) encoding = cie_encoding(cie_body);
            }
        }
        if (encoding == 0)
            return error_set(l->err, ST_INTERNAL,
                             ".eh_frame+0x%zx: an encoding that is not supported", offset);
        if (id == 0) continue;
        struct fde fde = {.offset = offset, .start = offset + 8, .encoding = encoding};
        if (length < 4 + (encoding == PCREL_SDATA4 ? 8u : 16u))
            return error_set(l->err, ST_INTERNAL, ".eh_frame+0x%zx: too short", offset);
        enum status status = visit(l, &fde, context);
        if (status != ST_OK) return status;
    }
    return ST_OK;
}

static enum status count_fde(struct linker *l, const struct fde *fde, void *context) {
    (void)l;
    (void)fde;
    ++*(size_t *)context;
    return ST_OK;
}

enum status eh_frame_close(struct linker *l) {
    struct buffer *table = &l->out[OUT_EH_FRAME].bytes;
    if (table->size == 0) return ST_OK;
    buffer_put_u32(table, 0);
    enum status status = buffer_status(table, l->err);
    size_t count = 0;
    if (status == ST_OK) status = each_fde(l, count_fde, &count);
    if (status != ST_OK) return status;
    struct buffer *search = &l->out[OUT_EH_FRAME_HDR].bytes;
    buffer_put_zero(search, HEADER_BYTES + ROW_BYTES * count);
    return buffer_status(search, l->err);
}

struct row {
    int32_t start, fde; /* relative to .eh_frame_hdr */
};
struct rows {
    struct row *rows;
    size_t count;
};

static enum status add_row(struct linker *l, const struct fde *fde, void *context) {
    const struct out_section *table = &l->out[OUT_EH_FRAME], *text = &l->out[OUT_TEXT];
    uint64_t base = l->out[OUT_EH_FRAME_HDR].address;
    struct reader r = reader_over(table->bytes.bytes, table->bytes.size);
    reader_bytes(&r, fde->start);
    uint64_t value = fde->encoding == PCREL_SDATA4 ? (uint64_t)(int64_t)(int32_t)reader_u32(&r)
                                                   : reader_u64(&r);
    uint64_t start = table->address + fde->start + value;
    if (start < text->address || start - text->address >= text->bytes.size)
        return error_set(l->err, ST_INTERNAL, ".eh_frame+0x%zx: describes no code",
                         fde->offset);
    struct rows *rows = context;
    /* Both fit: object_layout keeps the span under 2 GiB. */
    rows->rows[rows->count++] =
        (struct row){.start = (int32_t)(int64_t)(start - base),
                     .fde = (int32_t)(int64_t)(table->address + fde->offset - base)};
    return ST_OK;
}

static int compare_rows(const void *a, const void *b) {
    const struct row *x = a, *y = b;
    if (x->start != y->start) return x->start < y->start ? -1 : 1;
    return (x->fde > y->fde) - (x->fde < y->fde);
}

enum status eh_frame_search_table(struct linker *l) {
    struct out_section *search = &l->out[OUT_EH_FRAME_HDR];
    if (search->bytes.size == 0) return ST_OK;
    size_t count = (search->bytes.size - HEADER_BYTES) / ROW_BYTES;
    struct rows rows = {.rows = arena_array(&l->arena, count, sizeof *rows.rows)};
    if (!rows.rows) return error_set(l->err, ST_NO_MEMORY, "out of memory");
    enum status status = each_fde(l, add_row, &rows);
    if (status != ST_OK) return status;
    qsort(rows.rows, rows.count, sizeof *rows.rows, compare_rows);
    struct buffer *b = &search->bytes;
    b->size = 0; /* the room is there; the size comes out the same */
    buffer_put_u8(b, 1);
    buffer_put_u8(b, PCREL_SDATA4);
    buffer_put_u8(b, UDATA4);
    buffer_put_u8(b, DATAREL_SDATA4);
    buffer_put_u32(b, (uint32_t)(l->out[OUT_EH_FRAME].address - (search->address + 4)));
    buffer_put_u32(b, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        buffer_put_u32(b, (uint32_t)rows.rows[i].start);
        buffer_put_u32(b, (uint32_t)rows.rows[i].fde);
    }
    return buffer_status(b, l->err);
}
