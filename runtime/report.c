/*
 * From the place where the guest was left to a report: frames of functions of the modules, each
 * with its index and the byte offset of the instruction in its module, and the report as text.
 * Thunks and the object's own helper routines are walked through but not shown.
 */
#include "runtime/trap.h"

/* Frames walked before the walk is called endless. */
#define MAX_STEPS 512u

/* The function of the module that holds this object text offset. */
static bool find_function(const struct abi_object *o, uint64_t offset, uint32_t *ret) {
    for (uint32_t i = o->imported_functions; i < o->function_count; i++) {
        const struct abi_function *f = &o->functions[i];
        if (offset >= f->code_offset && offset - f->code_offset < f->code_size) {
            *ret = i;
            return true;
        }
    }
    return false;
}

/* The function of the module whose body begins last before this byte of the module. */
static bool find_body(const struct abi_object *o, uint64_t wasm_offset, uint32_t *ret) {
    uint64_t best = 0;
    for (uint32_t i = o->imported_functions; i < o->function_count; i++) {
        uint64_t start = o->functions[i].wasm_offset;
        if (start == 0 || start > wasm_offset || start < best) continue;
        best = start;
        *ret = i;
    }
    return best != 0;
}

/* One return address: a frame of the machine, which may be several of the module. */
struct place {
    const struct code *code;
    uint32_t function;
    struct debug_target debug;
};

/* Fills in the debug information: one pass over the tables of each module. */
static void find_debug(struct place *places, uint32_t count) {
    bool done[REPORT_MAX_FRAMES] = {0};
    for (uint32_t i = 0; i < count; i++) {
        if (done[i]) continue;
        struct debug_target targets[REPORT_MAX_FRAMES];
        uint32_t which[REPORT_MAX_FRAMES], found = 0;
        for (uint32_t k = i; k < count; k++) {
            if (places[k].code != places[i].code) continue;
            done[k] = true;
            uint32_t at = found++; /* insertion sort */
            for (; at > 0 && targets[at - 1].address > places[k].debug.address; at--) {
                targets[at] = targets[at - 1];
                which[at] = which[at - 1];
            }
            targets[at] = places[k].debug;
            which[at] = k;
        }
        lines_find(places[i].code, found, targets);
        inlines_find(places[i].code, found, targets);
        for (uint32_t k = 0; k < found; k++) places[which[k]].debug = targets[k];
    }
}

static void add_frame(struct trap_report *report, const struct code *code, uint32_t function,
                      uint64_t wasm_offset) {
    if (report->frame_count == REPORT_MAX_FRAMES)
        report->frames_cut = true;
    else
        report->frames[report->frame_count++] =
            (struct trap_frame){.code = code, .function = function, .wasm_offset = wasm_offset};
}

/* The frames of a place: what was inlined there, innermost first, then the function itself. */
static void add_frames(struct trap_report *report, const struct place *p) {
    uint64_t offset = p->debug.line;
    for (uint32_t i = p->debug.call_count; i-- > 0;) {
        uint32_t function;
        if (offset && find_body(p->code->object, offset, &function))
            add_frame(report, p->code, function, offset);
        offset = p->debug.calls[i];
    }
    add_frame(report, p->code, p->function, offset);
}

static void find_frames(const struct crossing *c, struct trap_report *report) {
    struct registers regs = c->registers;
    struct place places[REPORT_MAX_FRAMES];
    uint32_t count = 0;
    for (uint32_t step = 0;; step++) {
        uint64_t pc = regs.pc - (regs.pc_is_return ? 1 : 0);
        const struct code *code = trap_find_code(pc);
        uint32_t function;
        struct error ignored = {0};
        if (code && code_complete(code, &ignored) != ST_OK) break;
        if (code && find_function(code->object, pc - (uint64_t)code->text, &function)) {
            if (count == REPORT_MAX_FRAMES) {
                report->frames_cut = true;
                break;
            }
            places[count++] = (struct place){
                .code = code, .function = function, .debug = {.address = pc - code->bias}};
        }
        if (step == MAX_STEPS) {
            report->frames_cut = true;
            break;
        }
        if (code) {
            if (!unwind_step(code, &regs)) break;
        } else {
            /* where this call began; a host function of an earlier one may have made it */
            bool began = regs.pc == 0 && regs.r[REG_DWARF_RSP] == c->enter_sp;
            c = c->previous;
            if (!began || !c) break;
            gate_saved_registers(c, &regs);
        }
    }
    find_debug(places, count);
    for (uint32_t i = 0; i < count; i++) add_frames(report, &places[i]);
}

void trap_report_fill(const struct crossing *crossing, struct trap_report *ret_report) {
    if (!ret_report) return;
    *ret_report = (struct trap_report){.trap = crossing->trap,
                                       .fault_address = crossing->fault_address,
                                       .exit_code = crossing->exit_code};
    memcpy(ret_report->detail, crossing->detail, sizeof ret_report->detail);
    ret_report->detail[sizeof ret_report->detail - 1] = 0;
    if (crossing->result == CALL_TRAPPED && crossing->has_registers)
        find_frames(crossing, ret_report);
}

void code_function_name(const struct code *code, uint32_t function, char *ret_name,
                        size_t size) {
    if (size == 0) return;
    ret_name[0] = 0;
    const struct abi_object *o = code->object;
    if (o->names_size > code->file_size || o->names_offset > code->file_size - o->names_size)
        return;
    struct reader r = reader_over(code->file + o->names_offset, o->names_size);
    uint32_t count = reader_u32(&r);
    if (r.failed || function >= count) return;
    const uint8_t *table = reader_bytes(&r, ((uint64_t)count + 1) * 4);
    if (!table) return;
    struct reader offsets = reader_over(table + (uint64_t)function * 4, 8);
    uint32_t from = reader_u32(&offsets), to = reader_u32(&offsets);
    if (from > to || to > reader_left(&r)) return;
    size_t length = to - from;
    const uint8_t *name = r.at + from;
    if (length >= size) { /* cut between characters */
        length = size - 1;
        while (length && (name[length] & 0xc0) == 0x80) length--;
    }
    for (size_t i = 0; i < length; i++)
        ret_name[i] = name[i] < 0x20 || name[i] == 0x7f ? '?' : (char)name[i];
    ret_name[length] = 0;
}

void trap_report_print(const struct trap_report *report, struct buffer *b) {
    buffer_printf(b, "error: wasm trap: %s%s%s\n", abi_trap_message(report->trap),
                  report->detail[0] ? ": " : "", report->detail);
    for (uint32_t i = 0; i < report->frame_count; i++) {
        const struct trap_frame *f = &report->frames[i];
        char name[256];
        code_function_name(f->code, f->function, name, sizeof name);
        buffer_printf(b, "  %3u: ", i);
        if (f->wasm_offset)
            buffer_printf(b, "%#8llx", (unsigned long long)f->wasm_offset);
        else
            buffer_printf(b, "%8s", "?");
        buffer_printf(b, " - function %u%s%s%s\n", f->function, name[0] ? " <" : "", name,
                      name[0] ? ">" : "");
    }
    if (report->frames_cut) buffer_printf(b, "  ... more frames\n");
}
