/*
 * What an opcode number means: its row of opcodes.def, or the name of the proposal it belongs
 * to where we do not have it yet. Codes are sparse (one byte, or a prefix and a number), so
 * rows lie in one dense array with a stretch for each prefix.
 */
#include "compiler/decode.h"

#define SLOT_FC 0x100u  /* 0xfc00..: 32 slots */
#define SLOT_FD 0x120u  /* 0xfd00..: 256 slots */
#define SLOT_END 0x220u /* the slot of no opcode, always empty */

/* A constant expression where the code is one. */
#define SLOT(code)                                                                             \
    ((code) < 0x100u                              ? (code)                                     \
     : (code) >= 0xfc0000u && (code) <= 0xfc001fu ? SLOT_FC + ((code) & 0xffu)                 \
     : (code) >= 0xfd0000u && (code) <= 0xfd00ffu ? SLOT_FD + ((code) & 0xffu)                 \
                                                  : SLOT_END)

static const struct opcode_info rows[SLOT_END + 1] = {
#define OP(code, name, text_, immediate_, params_, results_, access_)                          \
    [SLOT(code)] = {.text = text_,                                                             \
                    .immediate = immediate_,                                                   \
                    .params = params_,                                                         \
                    .results = results_,                                                       \
                    .access_bytes = access_},
#include "compiler/opcodes.def"
};

const struct opcode_info *opcode_info(uint32_t opcode) {
    const struct opcode_info *info = &rows[SLOT(opcode)];
    return info->text ? info : NULL;
}

/* Opcodes that we recognise but do not have. From spec core 3.0 A.7 and the proposals' texts.
 */
static const struct {
    uint32_t first, last;
    const char *feature;
} features[] = {
    /* clang-format off */
    {0x12, 0x13, "Wasm 3.0 tail calls"}, /* return_call, return_call_indirect */
    {0x14, 0x14, "Wasm 3.0 typed function references"}, /* call_ref */
    {0x15, 0x15, "Wasm 3.0 tail calls"}, /* return_call_ref */
    {0xd3, 0xd3, "Wasm 3.0 garbage collection"}, /* ref.eq */
    {0xd4, 0xd6, "Wasm 3.0 typed function references"}, /* ref.as_non_null, br_on_null ... */
    {0xfb0000, 0xfb001e, "Wasm 3.0 garbage collection"},
    {0xfb001f, 0xfb002f, "custom descriptors"},
    {0xfc0013, 0xfc0016, "wide arithmetic"},
    {0xfd0100, 0xfd0113, "Wasm 3.0 relaxed SIMD"},
    {0xfe0000, 0xfe0003, "threads"},
    {0xfe0010, 0xfe004e, "threads"},
    /* clang-format on */
};

const char *opcode_feature(uint32_t opcode) {
    for (size_t i = 0; i < countof(features); i++)
        if (opcode >= features[i].first && opcode <= features[i].last)
            return features[i].feature;
    return NULL;
}

const char *type_feature(uint8_t code) {
    switch (code) {
    case 0x64: /* (ref heap) */
    case 0x63: /* (ref null heap) */ return "Wasm 3.0 typed function references";
    case 0x74: /* noexn */
    case 0x73: /* nofunc */
    case 0x72: /* noextern */
    case 0x71: /* none */
    case 0x6e: /* any */
    case 0x6d: /* eq */
    case 0x6c: /* i31 */
    case 0x6b: /* struct */
    case 0x6a: /* array */ return "Wasm 3.0 garbage collection";
    case 0x75: /* nocont */
    case 0x68: /* cont */ return "stack switching";
    default: return NULL;
    }
}
