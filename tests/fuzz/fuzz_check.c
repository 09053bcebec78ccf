/*
 * Harness: any bytes through decode and validate. Whatever they are, there is a verdict with
 * one line to it; and what validates decodes again, instruction by instruction, as the lowering
 * does.
 */
#include "compiler/module.h"
#include "compiler/opcodes.h"
#include "tests/fuzz/fuzz.h"

static void walk(const struct module *m, const struct module_function *function) {
    struct reader r = reader_over(m->bytes, m->size);
    struct error err = {0};
    struct instruction in;
    r.at = m->bytes + function->code_offset;
    r.end = m->bytes + function->body_offset + function->body_size;
    while (r.at < r.end) CHECK(instruction_decode(&r, &in, &err) == ST_OK);
    CHECK(in.opcode == OP_END);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct error err = {0};
    struct module m;
    enum status status = module_decode(bytes, size, &m, &err);
    if (status == ST_OK) status = module_validate(&m, &err);
    if (status == ST_OK) {
        for (uint32_t i = m.imported_functions; i < m.function_count; i++)
            walk(&m, &m.functions[i]);
    } else {
        CHECK(status == ST_MALFORMED || status == ST_INVALID || status == ST_UNSUPPORTED ||
              status == ST_LIMIT || status == ST_NO_MEMORY);
        CHECK(err.status == status && err.message[0] && !strchr(err.message, '\n'));
        CHECK(!err.has_offset || err.wasm_offset <= size);
    }
    module_finish(&m);
    return 0;
}
