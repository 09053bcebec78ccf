/*
 * A checksum of a program's whole state in a host call: what snapshot_write would write, less
 * the request's variables in its environment. Pages of zeros are skipped, so it costs what a
 * reading of the used pages costs.
 */
#include "runtime/snapshot.h"
#include "runtime/wasi.h"

struct summing {
    uint32_t crc;
    struct wasi_request_range skip[3];
    uint64_t guest_sp;
};

static void add(struct summing *s, const void *bytes, size_t size) {
    s->crc = crc32c(s->crc, bytes, size);
}

/* Takes out of a copy of the page at address what does not count. */
static void clear(uint8_t *page, uint64_t address, uint64_t start, uint64_t size) {
    uint64_t end = start + size;
    if (start < address) start = address;
    if (end > address + ABI_HOST_PAGE) end = address + ABI_HOST_PAGE;
    if (start < end) memset(page + (start - address), 0, end - start);
}

static bool is_zero(const uint8_t *page) {
    static const uint8_t zeros[ABI_HOST_PAGE];
    return memcmp(page, zeros, ABI_HOST_PAGE) == 0;
}

static bool meets(uint64_t address, uint64_t start, uint64_t size) {
    return size && start < address + ABI_HOST_PAGE && address < start + size;
}

static void add_page(struct summing *s, uint64_t address) {
    const uint8_t *page = (const uint8_t *)address;
    uint8_t copy[ABI_HOST_PAGE];
    bool other =
        address == ABI_INSTANCE_BASE ||
        meets(address, ABI_STACK_TOP - (1u << 30), s->guest_sp - (ABI_STACK_TOP - (1u << 30)));
    for (size_t k = 0; k < countof(s->skip); k++)
        other |= meets(address, ABI_MEMORY_BASE + s->skip[k].address, s->skip[k].size_bytes);
    if (other) {
        memcpy(copy, page, sizeof copy);
        page = copy;
        for (size_t k = 0; k < countof(s->skip); k++)
            clear(copy, address, ABI_MEMORY_BASE + s->skip[k].address, s->skip[k].size_bytes);
        clear(copy, address, ABI_STACK_TOP - (1u << 30),
              s->guest_sp - (ABI_STACK_TOP - (1u << 30)));
        if (address == ABI_INSTANCE_BASE) {
            struct abi_instance block;
            memcpy(&block, copy, sizeof block);
            instance_detach(&block);
            memcpy(copy, &block, sizeof block);
        }
    }
    if (is_zero(page)) return;
    add(s, &address, sizeof address);
    add(s, page, ABI_HOST_PAGE);
}

static void add_region(struct summing *s, uint64_t address, uint64_t size) {
    for (uint64_t at = 0; at < size; at += ABI_HOST_PAGE) add_page(s, address + at);
}

/*
 * What compilers leave below the stack pointer of the stack in linear memory: frames that are
 * no more, whose next owners write before they read. Global 0 is the pointer (the linker's
 * convention), its initial value the stack's top. Where data lies above that, the stack begins
 * at 0; else it is taken to be as small as linkers make it.
 */
#define LINKER_STACK_BYTES UINT32_C(65536)
static struct wasi_request_range dead_stack(const struct instance *i) {
    struct wasi_request_range none = {0};
    const struct abi_object *o = i->object;
    if (o->imported_globals || !o->global_count || !o->globals[0].type.mutable ||
        o->globals[0].type.type.code != ABI_I32 || o->globals[0].init.count != 1 ||
        o->globals[0].init.steps[0].op != ABI_CONST_VALUE)
        return none;
    uint32_t top = o->globals[0].init.steps[0].value.u32, now = i->globals[0].cell->u32;
    uint32_t low = top > LINKER_STACK_BYTES ? top - LINKER_STACK_BYTES : 0;
    bool first = true;
    for (uint32_t k = 0; k < o->page_run_count; k++)
        first &= (uint64_t)o->page_runs[k].guest_page * ABI_HOST_PAGE + ABI_HOST_PAGE > top;
    if (first) low = 0;
    if (now > top || now < low) return none;
    return (struct wasi_request_range){.address = low, .size_bytes = now - low};
}

enum status snapshot_state(const struct instance *i, struct wasi *wasi, bool without_dead,
                           uint32_t *ret_crc, struct error *err) {
    const struct crossing *c = gate_current;
    if (!c || c->instance != i || i->placement != ABI_PINNED)
        return error_set(err, ST_USAGE, "not in a host call of pinned code");
    struct summing s = {.crc = ~UINT32_C(0), .guest_sp = c->guest_sp};
    wasi_environment_range(wasi, s.skip);
    if (without_dead) s.skip[2] = dead_stack(i);
    auto_buffer struct buffer record = {0};
    struct wasi_strings env = wasi->env;
    wasi->env = (struct wasi_strings){.count = 0};
    enum status status = wasi_state_save(wasi, &record, err);
    wasi->env = env;
    if (status != ST_OK) return status;
    add(&s, record.bytes, record.size);
    const uint64_t call[] = {c->pending_index, c->pending_slots, c->guest_sp, c->enter_sp};
    add(&s, call, sizeof call);
    struct wasi_region files = wasi_files_region(wasi);
    add_region(&s, ABI_INSTANCE_BASE, align_up(i->layout.size_bytes, ABI_HOST_PAGE));
    if (i->object->memory_count)
        add_region(&s, ABI_MEMORY_BASE, i->memories[0]->abi->size_bytes);
    uint64_t stack = c->guest_sp & ~(uint64_t)(ABI_HOST_PAGE - 1);
    add_region(&s, stack, ABI_STACK_TOP - stack);
    for (uint32_t k = 0; k < i->object->table_count; k++)
        add_region(&s, (uint64_t)i->own_tables[k].mapping, i->own_tables[k].mapping_bytes);
    if (files.base) add_region(&s, (uint64_t)files.base, files.used_bytes);
    *ret_crc = s.crc;
    return ST_OK;
}

struct snapshot_point snapshot_point(const struct instance *i) {
    const struct crossing *c = gate_current;
    CHECK(c && c->instance == i);
    return (struct snapshot_point){
        .import = c->pending_index, .guest_sp = c->guest_sp, .slots = c->pending_slots};
}
