/*
 * Active data segments to pages of initial memory, so that instantiation maps them
 * copy-on-write where it would copy them (spec core 4.5.4, steps for data segments).
 *
 * Only what is certain to succeed may be done before it is its turn: segments of own memory 0
 * with constant offsets inside its minimum size, up to the first for which that does not hold,
 * and only where no active element segment before them can trap. Pages that are all zero are
 * left out, so a huge sparse memory costs what is in it.
 */
#include "compiler/link.h"

/* Segments of a byte each, a page apart, would blow a small module up to gigabytes: such a
 * module keeps its segments as they are. */
#define FREE_PAGES 4096u
#define PAGES_PER_DATA_PAGE 8u

/* The value of a constant offset. */
static bool constant_offset(const struct module_expr *expr, bool is_64, uint64_t *ret) {
    const struct abi_const_expr *program = &expr->program;
    if (program->count != 1 || program->steps[0].op != ABI_CONST_VALUE) return false;
    *ret = is_64 ? program->steps[0].value.u64 : program->steps[0].value.u32;
    return true;
}

static bool within(uint64_t offset, uint64_t size, uint64_t limit) {
    return offset <= limit && size <= limit - offset;
}

static bool elems_may_trap(const struct module *m) {
    for (uint32_t i = 0; i < m->elem_count; i++) {
        const struct module_elem *elem = &m->elems[i];
        uint64_t offset;
        if (elem->mode != ABI_SEGMENT_ACTIVE) continue;
        const struct abi_limits *limits = &m->tables[elem->table].type.limits;
        if (!constant_offset(&elem->offset, limits->is_64, &offset) ||
            !within(offset, elem->count, limits->min))
            return true;
    }
    return false;
}

/* Where segment i goes in memory 0: false where it cannot be in the image. */
static bool placed(const struct module *m, uint32_t i, uint64_t *ret_offset) {
    const struct module_data *data = &m->datas[i];
    const struct abi_limits *limits = &m->memories[0].limits;
    uint64_t min_bytes;
    return data->memory == 0 && !mul_overflows(limits->min, ABI_WASM_PAGE, &min_bytes) &&
           constant_offset(&data->offset, limits->is_64, ret_offset) &&
           within(*ret_offset, data->size, min_bytes);
}

/* Marks how many segments from the first on are in the image. Returns that number. */
static uint32_t choose_segments(const struct module *m, bool *in_image) {
    if (m->memory_count == 0 || m->memories[0].imported || m->memories[0].limits.shared ||
        m->memories[0].limits.min > ABI_MEMORY32_MAX_PAGES || elems_may_trap(m))
        return 0;
    uint32_t end = 0;
    uint64_t offset;
    for (uint32_t i = 0; i < m->data_count; i++) {
        if (m->datas[i].mode != ABI_SEGMENT_ACTIVE) continue;
        if (!placed(m, i, &offset)) break;
        in_image[i] = true;
        end = i + 1;
    }
    return end;
}

static bool all_zero(const uint8_t *page) {
    return page[0] == 0 && memcmp(page, page + 1, ABI_HOST_PAGE - 1) == 0;
}

/* Marks guest pages touched by segments with 1 in index. Returns their number. */
static uint64_t mark_pages(const struct module *m, const bool *in_image, uint32_t end,
                           uint32_t *index, uint64_t *ret_data_bytes) {
    uint64_t touched = 0, offset = 0, bytes = 0;
    for (uint32_t i = 0; i < end; i++) {
        if (!in_image[i] || m->datas[i].size == 0) continue;
        if (!placed(m, i, &offset)) continue;
        uint64_t last = (offset + m->datas[i].size - 1) / ABI_HOST_PAGE;
        for (uint64_t page = offset / ABI_HOST_PAGE; page <= last; page++) {
            touched += index[page] == 0;
            index[page] = 1;
        }
        bytes += m->datas[i].size;
    }
    *ret_data_bytes = bytes;
    return touched;
}

/* Copies segments into pages. index: for each touched guest page, its image page + 1. */
static void fill_pages(const struct module *m, const bool *in_image, uint32_t end,
                       const uint32_t *index, uint8_t *pages) {
    for (uint32_t i = 0; i < end; i++) {
        uint64_t at = 0, left = m->datas[i].size;
        const uint8_t *from = m->datas[i].bytes;
        if (!in_image[i] || !placed(m, i, &at)) continue;
        while (left) {
            uint64_t in_page = at % ABI_HOST_PAGE;
            uint64_t n = ABI_HOST_PAGE - in_page < left ? ABI_HOST_PAGE - in_page : left;
            memcpy(pages + (index[at / ABI_HOST_PAGE] - 1) * ABI_HOST_PAGE + in_page, from, n);
            at += n;
            from += n;
            left -= n;
        }
    }
}

static enum status build(const struct module *m, struct arena *arena, uint32_t *index,
                         uint32_t end, struct memory_image *image, struct error *err) {
    uint64_t guest_pages = m->memories[0].limits.min * (ABI_WASM_PAGE / ABI_HOST_PAGE);
    uint64_t data_bytes;
    uint64_t touched = mark_pages(m, image->in_image, end, index, &data_bytes);
    if (touched > FREE_PAGES + data_bytes / ABI_HOST_PAGE * PAGES_PER_DATA_PAGE) {
        memset(image->in_image, 0, m->data_count * sizeof *image->in_image);
        return ST_OK;
    }
    uint32_t next = 0;
    for (uint64_t page = 0; page < guest_pages; page++)
        if (index[page]) index[page] = ++next;
    buffer_put_zero(&image->pages, touched * ABI_HOST_PAGE);
    image->runs = arena_array(arena, touched, sizeof *image->runs);
    if (image->pages.failed || !image->runs)
        return error_set(err, ST_NO_MEMORY, "out of memory");
    uint8_t *pages = image->pages.bytes;
    fill_pages(m, image->in_image, end, index, pages);

    /* Drop pages that are all zero, close the gaps, and describe what is left as runs. */
    uint32_t kept = 0;
    for (uint64_t page = 0; page < guest_pages; page++) {
        if (!index[page]) continue;
        const uint8_t *from = pages + (index[page] - 1) * ABI_HOST_PAGE;
        if (all_zero(from)) continue;
        memmove(pages + kept * ABI_HOST_PAGE, from, ABI_HOST_PAGE);
        struct abi_page_run *run = image->run_count ? &image->runs[image->run_count - 1] : NULL;
        if (run && run->guest_page + run->count == page)
            run->count++;
        else
            image->runs[image->run_count++] = (struct abi_page_run){
                .guest_page = (uint32_t)page, .image_page = kept, .count = 1};
        kept++;
    }
    image->pages.size = (size_t)(kept * ABI_HOST_PAGE);
    return ST_OK;
}

enum status memory_image_build(const struct module *module, struct arena *arena,
                               struct memory_image *ret_image, struct error *err) {
    *ret_image = (struct memory_image){.in_image = arena_array(arena, module->data_count, 1)};
    _Static_assert(sizeof(bool) == 1, "one byte a segment");
    if (!ret_image->in_image) return error_set(err, ST_NO_MEMORY, "out of memory");
    uint32_t end = choose_segments(module, ret_image->in_image);
    if (end == 0) return ST_OK;
    uint64_t guest_pages = module->memories[0].limits.min * (ABI_WASM_PAGE / ABI_HOST_PAGE);
    auto_free uint32_t *index = calloc((size_t)guest_pages + 1, sizeof *index);
    if (!index) return error_set(err, ST_NO_MEMORY, "out of memory");
    return build(module, arena, index, end, ret_image, err);
}
