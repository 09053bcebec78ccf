/*
 * Private to the decoder and the validator: reading the primitive things of the binary format
 * (spec core 5.2) with an error that says what was read and where it went wrong. Readers start
 * at the module's first byte, so that their offsets are the module's; they end where the
 * section or body ends.
 */
#ifndef HUTCH_COMPILER_DECODE_H
#define HUTCH_COMPILER_DECODE_H

#include "compiler/module.h"
#include "compiler/opcodes.h"

#define TRY(expression)                                                                        \
    do {                                                                                       \
        enum status try_status_ = (expression);                                                \
        if (try_status_ != ST_OK) return try_status_;                                          \
    } while (0)

/* ---- decode_read.c. `what` names the thing for the message: "local index" ---- */
enum status read_byte(struct reader *r, const char *what, uint8_t *ret,
                      struct error *err) must_check;
enum status read_u32(struct reader *r, const char *what, uint32_t *ret,
                     struct error *err) must_check;
enum status read_u64(struct reader *r, const char *what, uint64_t *ret,
                     struct error *err) must_check;
enum status read_s32(struct reader *r, const char *what, int32_t *ret,
                     struct error *err) must_check;
enum status read_s33(struct reader *r, const char *what, int64_t *ret,
                     struct error *err) must_check;
enum status read_s64(struct reader *r, const char *what, int64_t *ret,
                     struct error *err) must_check;
/* size bytes, borrowed. */
enum status read_bytes(struct reader *r, const char *what, size_t size, const uint8_t **ret,
                       struct error *err) must_check;
/* The length of a vector: at most what the bytes left can hold (one byte an item, so that
 * memory taken for the items is bounded by the input), and at most limit (ST_LIMIT). */
enum status read_count(struct reader *r, const char *what, uint32_t limit, uint32_t *ret,
                       struct error *err) must_check;
/* A name: length, then UTF-8 (spec core 5.2.4). Borrowed, not terminated. */
enum status read_name(struct reader *r, const char *what, const uint8_t **ret,
                      uint32_t *ret_length, struct error *err) must_check;
/* A reference type, as valtype_decode. */
enum status read_reftype(struct reader *r, struct valtype *ret, struct error *err) must_check;

/* ---- opcodes.c: the proposal a code belongs to that we do not have, or NULL ---- */
const char *opcode_feature(uint32_t opcode);
const char *type_feature(uint8_t code); /* of value, reference and heap types */

/* ---- decode_sections.c, decode_segments.c: one function a section. r is over the content ----
 */
struct decoder {
    struct module *module;
    struct error *err;
    bool has_code;
    uint32_t code_count;
};
enum status decode_types(struct decoder *d, struct reader *r) must_check;
enum status decode_imports(struct decoder *d, struct reader *r) must_check;
enum status decode_functions(struct decoder *d, struct reader *r) must_check;
enum status decode_tables(struct decoder *d, struct reader *r) must_check;
enum status decode_memories(struct decoder *d, struct reader *r) must_check;
enum status decode_tags(struct decoder *d, struct reader *r) must_check;
enum status decode_globals(struct decoder *d, struct reader *r) must_check;
enum status decode_exports(struct decoder *d, struct reader *r) must_check;
enum status decode_start(struct decoder *d, struct reader *r) must_check;
enum status decode_elems(struct decoder *d, struct reader *r) must_check;
enum status decode_data_count(struct decoder *d, struct reader *r) must_check;
enum status decode_code(struct decoder *d, struct reader *r) must_check;
enum status decode_datas(struct decoder *d, struct reader *r) must_check;
/* A constant expression up to its end: where it lies. */
enum status decode_expr(struct decoder *d, struct reader *r,
                        struct module_expr *ret) must_check;

#endif
