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

/* Gives the frames their Wasm offsets: one pass over the line table for each module. */
static void find_lines(struct trap_report *report, const uint64_t *pcs) {
    bool done[REPORT_MAX_FRAMES] = {0};
    for (uint32_t i = 0; i < report->frame_count; i++) {
        if (done[i]) continue;
        const struct code *code = report->frames[i].code;
        uint64_t addresses[REPORT_MAX_FRAMES], lines[REPORT_MAX_FRAMES];
        uint32_t which[REPORT_MAX_FRAMES], count = 0;
        for (uint32_t k = i; k < report->frame_count; k++) {
            if (report->frames[k].code != code) continue;
            done[k] = true;
            uint32_t at = count++; /* insertion sort */
            for (; at > 0 && addresses[at - 1] > pcs[k]; at--) {
                addresses[at] = addresses[at - 1];
                which[at] = which[at - 1];
            }
            addresses[at] = pcs[k];
            which[at] = k;
        }
        lines_find(code, count, addresses, lines);
        for (uint32_t k = 0; k < count; k++) report->frames[which[k]].wasm_offset = lines[k];
    }
}

static void find_frames(const struct crossing *c, struct trap_report *report) {
    struct registers regs = c->registers;
    uint64_t pcs[REPORT_MAX_FRAMES]; /* object addresses of the instructions */
    for (uint32_t step = 0;; step++) {
        uint64_t pc = regs.pc - (regs.pc_is_return ? 1 : 0);
        const struct code *code = trap_find_code(pc);
        if (!code) { /* where this call began; a host function of an earlier one may have made
                        it */
            c = c->previous;
            if (regs.pc != (uint64_t)gate_enter_window_end || !c) break;
            gate_saved_registers(c, &regs);
            continue;
        }
        uint32_t function;
        if (find_function(code->object, pc - (uint64_t)code->text, &function)) {
            if (report->frame_count == REPORT_MAX_FRAMES) {
                report->frames_cut = true;
                break;
            }
            pcs[report->frame_count] = pc - code->bias;
            report->frames[report->frame_count++] =
                (struct trap_frame){.code = code, .function = function};
        }
        if (step == MAX_STEPS) {
            report->frames_cut = true;
            break;
        }
        if (!unwind_step(code, &regs)) break;
    }
    find_lines(report, pcs);
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
