/*
 * A module and its linked code to the metadata sections of a code object: the bytes of
 * docs/object-format.md, which loader/object_decode.c reads. Fields are written one by one,
 * little-endian; nothing is a struct's memory.
 */
#include "compiler/link.h"

#include <elf.h>

#define NO_ENTRY UINT32_MAX /* a type without an entry thunk */

static struct buffer *section(struct linker *l, enum abi_section which) {
    return &l->out[OUT_METADATA + (uint32_t)which].bytes;
}

static void put_valtype(struct buffer *b, struct valtype type) {
    buffer_put_u8(b, type.code);
    if (type.code == ABI_REF || type.code == ABI_REF_NULL) buffer_put_u32(b, type.heap);
}

static void put_limits(struct buffer *b, const struct abi_limits *limits) {
    buffer_put_u8(b, (uint8_t)((limits->has_max ? 1 : 0) | (limits->shared ? 2 : 0) |
                               (limits->is_64 ? 4 : 0)));
    buffer_put_u64(b, limits->min);
    if (limits->has_max) buffer_put_u64(b, limits->max);
}

static void put_table_type(struct buffer *b, const struct abi_table_type *type) {
    put_valtype(b, type->element);
    put_limits(b, &type->limits);
}

static void put_global_type(struct buffer *b, const struct abi_global_type *type) {
    put_valtype(b, type->type);
    buffer_put_u8(b, type->mutable);
}

/* Slots leave the bytes above a value unspecified; a file has none that are. */
static void put_expr(struct buffer *b, const struct abi_const_expr *expr) {
    buffer_put_u32(b, expr->count);
    for (uint32_t i = 0; i < expr->count; i++) {
        const struct abi_const_step *step = &expr->steps[i];
        buffer_put_u8(b, (uint8_t)step->op);
        if (step->op == ABI_CONST_VALUE)
            buffer_put(b, &step->value, sizeof step->value);
        else if (step->op == ABI_CONST_GLOBAL_GET || step->op == ABI_CONST_REF_FUNC)
            buffer_put_u32(b, step->index);
    }
}

static uint32_t text_offset(const struct link_symbol *symbol) {
    return symbol ? (uint32_t)symbol->offset : NO_ENTRY;
}

static void encode_types(struct linker *l, struct buffer *b) {
    const struct module *m = l->input->module;
    buffer_put_u32(b, m->type_count);
    for (uint32_t i = 0; i < m->type_count; i++) {
        const struct functype *type = &m->types[i].func;
        buffer_put_u32(b, type->param_count);
        buffer_put_u32(b, type->result_count);
        buffer_put_u32(b, text_offset(l->entries[m->types[i].canonical]));
        for (uint32_t p = 0; p < type->param_count; p++) put_valtype(b, type->params[p]);
        for (uint32_t r = 0; r < type->result_count; r++) put_valtype(b, type->results[r]);
    }
}

static void encode_imports(struct linker *l, struct buffer *b) {
    const struct module *m = l->input->module;
    buffer_put_u32(b, m->import_count);
    for (uint32_t i = 0; i < m->import_count; i++) {
        const struct module_import *import = &m->imports[i];
        buffer_put_str(b, import->module, import->module_length);
        buffer_put_str(b, import->name, import->name_length);
        buffer_put_u8(b, (uint8_t)import->kind);
        switch (import->kind) {
        case ABI_EXTERN_FUNC:
            buffer_put_u32(b, m->types[m->functions[import->index].type].canonical);
            break;
        case ABI_EXTERN_TABLE: put_table_type(b, &m->tables[import->index].type); break;
        case ABI_EXTERN_MEMORY: put_limits(b, &m->memories[import->index].limits); break;
        case ABI_EXTERN_GLOBAL: put_global_type(b, &m->globals[import->index].type); break;
        case ABI_EXTERN_TAG:
            buffer_put_u32(b, m->types[m->tags[import->index].type].canonical);
            break;
        }
    }
}

static void encode_exports(struct linker *l, struct buffer *b) {
    const struct module *m = l->input->module;
    buffer_put_u32(b, m->export_count);
    for (uint32_t i = 0; i < m->export_count; i++) {
        buffer_put_str(b, m->exports[i].name, m->exports[i].name_length);
        buffer_put_u8(b, (uint8_t)m->exports[i].kind);
        buffer_put_u32(b, m->exports[i].index);
    }
}

static void encode_funcs(struct linker *l, struct buffer *b) {
    const struct module *m = l->input->module;
    buffer_put_u32(b, m->imported_functions);
    buffer_put_u32(b, m->function_count);
    for (uint32_t i = 0; i < m->function_count; i++) {
        buffer_put_u32(b, m->types[m->functions[i].type].canonical);
        buffer_put_u32(b, text_offset(l->functions[i]));
        buffer_put_u32(b, (uint32_t)l->functions[i]->size);
        buffer_put_u32(b, (uint32_t)m->functions[i].body_offset);
    }
}

static void encode_state(struct linker *l, struct buffer *b) {
    const struct module *m = l->input->module;
    uint32_t capacities[MODULE_MAX_TABLES];
    module_table_capacities(m, capacities);
    buffer_put_u32(b, m->imported_tables);
    for (uint32_t i = 0; i < m->imported_tables; i++) buffer_put_u32(b, capacities[i]);
    buffer_put_u32(b, m->table_count - m->imported_tables);
    for (uint32_t i = m->imported_tables; i < m->table_count; i++) {
        put_table_type(b, &m->tables[i].type);
        buffer_put_u8(b, module_table_fixed(m, i));
        buffer_put_u32(b, capacities[i]);
    }
    buffer_put_u32(b, m->memory_count - m->imported_memories);
    for (uint32_t i = m->imported_memories; i < m->memory_count; i++)
        put_limits(b, &m->memories[i].limits);
    buffer_put_u32(b, m->global_count - m->imported_globals);
    for (uint32_t i = m->imported_globals; i < m->global_count; i++) {
        put_global_type(b, &m->globals[i].type);
        put_expr(b, &m->globals[i].init.program);
    }
    buffer_put_u32(b, m->tag_count - m->imported_tags);
    for (uint32_t i = m->imported_tags; i < m->tag_count; i++)
        buffer_put_u32(b, m->types[m->tags[i].type].canonical);
    buffer_put_u8(b, m->has_start);
    buffer_put_u32(b, m->has_start ? m->start_function : 0);
}

static void encode_elems(struct linker *l, struct buffer *b) {
    const struct module *m = l->input->module;
    buffer_put_u32(b, m->elem_count);
    for (uint32_t i = 0; i < m->elem_count; i++) {
        const struct module_elem *elem = &m->elems[i];
        buffer_put_u8(b, (uint8_t)elem->mode);
        put_valtype(b, elem->type);
        if (elem->mode == ABI_SEGMENT_ACTIVE) {
            buffer_put_u32(b, elem->table);
            put_expr(b, &elem->offset.program);
        }
        bool by_index = elem->funcs || elem->count == 0;
        buffer_put_u8(b, by_index ? 0 : 1);
        buffer_put_u32(b, elem->count);
        for (uint32_t k = 0; k < elem->count; k++) {
            if (by_index)
                buffer_put_u32(b, elem->funcs[k]);
            else
                put_expr(b, &elem->exprs[k].program);
        }
    }
}

/*
 * Without a data count section no instruction can name a segment (spec core 5.5.16), so those
 * that are in the image have nothing left to say. CPython's 42,000 are such.
 */
static void encode_datas(struct linker *l, const bool *in_image, struct buffer *b) {
    const struct module *m = l->input->module;
    uint32_t count = 0;
    for (uint32_t i = 0; i < m->data_count; i++) count += m->has_data_count || !in_image[i];
    buffer_put_u32(b, count);
    for (uint32_t i = 0; i < m->data_count; i++) {
        const struct module_data *data = &m->datas[i];
        if (in_image[i] && !m->has_data_count) continue;
        buffer_put_u8(b, (uint8_t)data->mode);
        buffer_put_u8(b, in_image[i]);
        if (data->mode == ABI_SEGMENT_ACTIVE) {
            buffer_put_u32(b, data->memory);
            put_expr(b, &data->offset.program);
        }
        uint64_t size = in_image[i] ? 0 : data->size;
        buffer_put_u64(b, size);
        buffer_put(b, data->bytes, size);
    }
}

static void encode_traps(struct linker *l, struct buffer *b) {
    const struct link_symbol *stubs[TRAP_COUNT];
    uint32_t count = 0;
    for (uint32_t kind = 0; kind < TRAP_COUNT; kind++) {
        if (!l->traps[kind]) continue;
        uint32_t at = count++; /* insertion sort: there is a dozen */
        for (; at && stubs[at - 1]->offset > l->traps[kind]->offset; at--)
            stubs[at] = stubs[at - 1];
        stubs[at] = l->traps[kind];
    }
    buffer_put_u32(b, count);
    for (uint32_t i = 0; i < count; i++) {
        buffer_put_u32(b, text_offset(stubs[i]));
        for (uint32_t kind = 0; kind < TRAP_COUNT; kind++)
            if (l->traps[kind] == stubs[i]) buffer_put_u32(b, kind);
    }
}

static enum status encode_memory(struct linker *l) {
    struct memory_image image;
    enum status status = memory_image_build(l->input->module, &l->arena, &image, l->err);
    if (status == ST_OK) {
        struct buffer *b = section(l, ABI_SECTION_PAGES);
        buffer_put_u32(b, image.run_count);
        for (uint32_t i = 0; i < image.run_count; i++) {
            buffer_put_u32(b, image.runs[i].guest_page);
            buffer_put_u32(b, image.runs[i].image_page);
            buffer_put_u32(b, image.runs[i].count);
        }
        encode_datas(l, image.in_image, section(l, ABI_SECTION_DATAS));
        l->out[OUT_IMAGE] = (struct out_section){.name = abi_section_name(ABI_SECTION_IMAGE),
                                                 .bytes = image.pages,
                                                 .type = SHT_PROGBITS,
                                                 .align = ABI_HOST_PAGE};
    } else {
        buffer_finish(&image.pages);
    }
    return status;
}

static enum status encode_compat(struct linker *l) {
    const struct link_input *in = l->input;
    struct digest module = digest_of(in->module->bytes, in->module->size), compiler;
    enum status status = compile_fingerprint(in->options, &compiler, l->err);
    if (status != ST_OK) return status;
    char target[sizeof((struct abi_compat *)0)->target] = {0};
    if (strlen(in->options->target) >= sizeof target)
        return error_set(l->err, ST_USAGE, "the name of target %s is too long",
                         in->options->target);
    memcpy(target, in->options->target, strlen(in->options->target));
    struct buffer *b = section(l, ABI_SECTION_COMPAT);
    buffer_put(b, ABI_OBJECT_MAGIC, 8);
    buffer_put_u32(b, ABI_OBJECT_VERSION);
    buffer_put_u16(b, relocate_machine);
    buffer_put_u16(b, (uint16_t)in->options->placement);
    buffer_put_u64(b, abi_fingerprint());
    buffer_put_u64(b, in->cpu_features);
    buffer_put(b, module.bytes, sizeof module.bytes);
    buffer_put(b, compiler.bytes, sizeof compiler.bytes);
    buffer_put_u32(b, (uint32_t)in->options->level);
    buffer_put(b, target, sizeof target);
    buffer_put_u32(b, 0);
    buffer_put_zero(b, sizeof(struct digest)); /* of the contents: object_write.c */
    CHECK(b->failed || b->size == OBJECT_COMPAT_SIZE);
    return ST_OK;
}

enum status object_encode(struct linker *l) {
    for (uint32_t i = 0; i < ABI_SECTION_COUNT; i++) {
        if (i == ABI_SECTION_IMAGE) continue;
        l->out[OUT_METADATA + i] = (struct out_section){.name = abi_section_name(i),
                                                        .type = SHT_PROGBITS,
                                                        .flags = SHF_ALLOC,
                                                        .align = 8,
                                                        .loaded = true};
    }
    enum status status = encode_compat(l);
    if (status == ST_OK) status = encode_memory(l);
    if (status != ST_OK) return status;
    encode_types(l, section(l, ABI_SECTION_TYPES));
    encode_imports(l, section(l, ABI_SECTION_IMPORTS));
    encode_exports(l, section(l, ABI_SECTION_EXPORTS));
    encode_funcs(l, section(l, ABI_SECTION_FUNCS));
    encode_state(l, section(l, ABI_SECTION_STATE));
    encode_elems(l, section(l, ABI_SECTION_ELEMS));
    encode_traps(l, section(l, ABI_SECTION_TRAPS));
    object_names(l->input->module, section(l, ABI_SECTION_NAMES));
    if (l->input->profile)
        buffer_put(section(l, ABI_SECTION_PROFILE), l->input->profile->bytes,
                   l->input->profile->size);
    for (uint32_t i = 0; i < ABI_SECTION_COUNT; i++) {
        status = buffer_status(&l->out[OUT_METADATA + i].bytes, l->err);
        if (status != ST_OK) return status;
    }
    return ST_OK;
}
