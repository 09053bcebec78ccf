/*
 * Touches everything that a decoded code object points at, and checks what the runtime relies
 * on without looking again. For tests that read damaged objects.
 */
#ifndef HUTCH_TESTS_UNIT_OBJECT_TOUCH_H
#define HUTCH_TESTS_UNIT_OBJECT_TOUCH_H

#include "abi/abi.h"

/* Adds up everything an object holds. */
static inline uint64_t touch_bytes(const void *bytes, uint64_t size) {
    uint64_t sum = 0;
    for (uint64_t i = 0; i < size; i++) sum += ((const uint8_t *)bytes)[i];
    return sum;
}

static inline uint64_t touch_expr(const struct abi_const_expr *expr) {
    return touch_bytes(expr->steps, expr->count * sizeof *expr->steps);
}

static inline uint64_t touch_type(const struct functype *f) {
    return touch_bytes(f->params, f->param_count * sizeof *f->params) +
           touch_bytes(f->results, f->result_count * sizeof *f->results);
}

/* A range of the file: in bounds, and its ends can be read. */
static inline uint64_t touch_range(const uint8_t *file, uint64_t size, uint64_t at,
                                   uint64_t bytes) {
    CHECK(at <= size && bytes <= size - at);
    return bytes ? (uint64_t)file[at] + file[at + bytes - 1] : 0;
}

static inline uint64_t object_touch(const struct abi_object *o, const uint8_t *file,
                                    uint64_t size) {
    uint64_t sum = touch_range(file, size, o->text_offset, o->text_size) +
                   touch_range(file, size, o->rodata_offset, o->rodata_size) +
                   touch_range(file, size, o->eh_frame_offset, o->eh_frame_size) +
                   touch_range(file, size, o->eh_frame_hdr_offset, o->eh_frame_hdr_size) +
                   touch_range(file, size, o->lines_offset, o->lines_size) +
                   touch_range(file, size, o->names_offset, o->names_size);
    for (uint32_t i = 0; i < o->type_count; i++) sum += touch_type(&o->types[i].func);
    for (uint32_t i = 0; i < o->import_count; i++)
        sum += touch_bytes(o->imports[i].module, o->imports[i].module_length) +
               touch_bytes(o->imports[i].name, o->imports[i].name_length);
    for (uint32_t i = 0; i < o->export_count; i++)
        sum += touch_bytes(o->exports[i].name, o->exports[i].name_length);
    for (uint32_t i = 0; i < o->function_count; i++)
        sum += touch_type(&o->types[o->functions[i].type].func) +
               touch_range(file, size, o->text_offset + o->functions[i].code_offset,
                           o->functions[i].code_size);
    for (uint32_t i = 0; i < o->table_count; i++) {
        CHECK(o->table_capacities[i] >= o->tables[i].limits.min);
        sum += o->table_fixed[i];
    }
    const uint32_t limit[] = {o->function_count, o->table_count, o->memory_count,
                              o->global_count};
    for (uint32_t i = 0; i < o->export_count; i++)
        CHECK(o->exports[i].index < limit[o->exports[i].kind]);
    if (o->has_start) sum += o->functions[o->start_function].type;
    for (uint32_t i = 0; i < o->memory_count; i++) sum += o->memories[i].min;
    for (uint32_t i = 0; i < o->global_count; i++) sum += touch_expr(&o->globals[i].init);
    for (uint32_t i = 0; i < o->elem_count; i++) {
        const struct abi_elem *elem = &o->elems[i];
        sum += touch_expr(&elem->offset);
        if (elem->mode == ABI_SEGMENT_ACTIVE) sum += o->tables[elem->table].limits.min;
        for (uint32_t k = 0; k < elem->count; k++)
            sum +=
                elem->funcs ? o->functions[elem->funcs[k]].type : touch_expr(&elem->exprs[k]);
    }
    for (uint32_t i = 0; i < o->data_count; i++)
        sum +=
            touch_expr(&o->datas[i].offset) + touch_bytes(o->datas[i].bytes, o->datas[i].size);
    for (uint32_t i = 0; i < o->page_run_count; i++) {
        uint64_t at = o->image_offset + o->page_runs[i].image_page * ABI_HOST_PAGE;
        sum += touch_range(file, size, at, o->page_runs[i].count * ABI_HOST_PAGE);
        CHECK((uint64_t)o->page_runs[i].guest_page + o->page_runs[i].count <=
              o->memories[0].min * (ABI_WASM_PAGE / ABI_HOST_PAGE));
    }
    for (uint32_t i = 0; i < o->trap_stub_count; i++) {
        CHECK(o->trap_stubs[i].trap < TRAP_COUNT);
        sum += file[o->text_offset + o->trap_stubs[i].code_offset];
    }
    return sum;
}

#endif
