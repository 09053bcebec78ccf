/*
 * Values as the scripts write them (numbers as decimal strings of their bits, "nan:canonical",
 * lanes, references) to slots, and results compared with what a script expects.
 */
#include "tests/spec/spec.h"

#include <inttypes.h>

static const struct {
    const char *name;
    uint8_t code;
} types[] = {
    {"i32", ABI_I32},
    {"i64", ABI_I64},
    {"f32", ABI_F32},
    {"f64", ABI_F64},
    {"v128", ABI_V128},
    {"funcref", ABI_FUNCREF},
    {"externref", ABI_EXTERNREF},
    {"exnref", ABI_EXNREF},
};

static uint64_t parse_bits(const char *text) { return strtoull(text, NULL, 10); }

static unsigned lane_bytes(const char *lane_type) {
    if (strcmp(lane_type, "i8") == 0) return 1;
    if (strcmp(lane_type, "i16") == 0) return 2;
    if (strcmp(lane_type, "i32") == 0 || strcmp(lane_type, "f32") == 0) return 4;
    return 8;
}

/* An externref 7 is the word 8, so that 0 stays null. */
static uint64_t externref_word(const char *text) {
    return strcmp(text, "null") == 0 ? 0 : parse_bits(text) + 1;
}

enum value_outcome value_from_json(const json_t *json, struct valtype *ret_type,
                                   union abi_value *ret_value) {
    const char *type = json_string_value(json_object_get(json, "type"));
    const json_t *value = json_object_get(json, "value");
    const char *text = json_string_value(value);
    *ret_type = (struct valtype){0};
    for (size_t i = 0; type && i < countof(types); i++)
        if (strcmp(type, types[i].name) == 0) ret_type->code = types[i].code;
    if (!ret_type->code) return VALUE_UNKNOWN_TYPE;
    memset(ret_value, 0, sizeof *ret_value);
    if (ret_type->code == ABI_V128) {
        const char *lane_type = json_string_value(json_object_get(json, "lane_type"));
        if (!lane_type || !json_is_array(value)) return VALUE_WRONG;
        unsigned bytes = lane_bytes(lane_type);
        for (size_t i = 0; i < json_array_size(value) && (i + 1) * bytes <= 16; i++) {
            const char *lane = json_string_value(json_array_get(value, i));
            if (!lane) return VALUE_WRONG;
            uint64_t bits = parse_bits(lane);
            memcpy(ret_value->v128 + i * bytes, &bits, bytes); /* little-endian */
        }
        return VALUE_OK;
    }
    if (!text) return VALUE_WRONG;
    switch (ret_type->code) {
    case ABI_I32:
    case ABI_F32: ret_value->u32 = (uint32_t)parse_bits(text); break;
    case ABI_I64:
    case ABI_F64: ret_value->u64 = parse_bits(text); break;
    case ABI_EXTERNREF: ret_value->ref = externref_word(text); break;
    default: /* funcref: the scripts pass only null */
        if (strcmp(text, "null") != 0) return VALUE_UNKNOWN_TYPE;
        break;
    }
    return VALUE_OK;
}

/* One number of `bytes` bytes against "123", "nan:canonical" or "nan:arithmetic". */
static bool lane_matches(const char *text, unsigned bytes, uint64_t bits) {
    bool canonical = strcmp(text, "nan:canonical") == 0;
    if (canonical || strcmp(text, "nan:arithmetic") == 0) {
        uint64_t sign = UINT64_C(1) << (bytes * 8 - 1);
        uint64_t quiet = bytes == 4 ? UINT64_C(0x7fc00000) : UINT64_C(0x7ff8000000000000);
        uint64_t magnitude = bits & ~sign;
        return canonical ? magnitude == quiet : (magnitude & quiet) == quiet;
    }
    uint64_t mask = bytes == 8 ? UINT64_MAX : (UINT64_C(1) << (bytes * 8)) - 1;
    return (parse_bits(text) & mask) == (bits & mask);
}

static bool vector_matches(const json_t *expected, const uint8_t value[16]) {
    const char *lane_type = json_string_value(json_object_get(expected, "lane_type"));
    const json_t *lanes = json_object_get(expected, "value");
    if (!lane_type || !json_is_array(lanes)) return false;
    unsigned bytes = lane_bytes(lane_type);
    if (json_array_size(lanes) * bytes != 16) return false;
    for (size_t i = 0; i < json_array_size(lanes); i++) {
        uint64_t bits = 0;
        memcpy(&bits, value + i * bytes, bytes);
        const char *text = json_string_value(json_array_get(lanes, i));
        if (!text || !lane_matches(text, bytes, bits)) return false;
    }
    return true;
}

static enum value_outcome matches(const json_t *expected, struct valtype type,
                                  const union abi_value *value) {
    const char *name = json_string_value(json_object_get(expected, "type"));
    const char *text = json_string_value(json_object_get(expected, "value"));
    if (!name) return VALUE_WRONG;
    if (strcmp(name, "either") == 0) {
        const json_t *choices = json_object_get(expected, "values");
        enum value_outcome outcome = VALUE_WRONG;
        for (size_t i = 0; i < json_array_size(choices) && outcome != VALUE_OK; i++)
            outcome = matches(json_array_get(choices, i), type, value);
        return outcome;
    }
    if (strcmp(name, "refnull") == 0)
        return valtype_is_ref(type) && value->ref == 0 ? VALUE_OK : VALUE_WRONG;
    uint8_t code = 0;
    for (size_t i = 0; i < countof(types); i++)
        if (strcmp(name, types[i].name) == 0) code = types[i].code;
    if (!code) return VALUE_UNKNOWN_TYPE;
    if (code != type.code) return VALUE_WRONG;
    bool good = false;
    if (code == ABI_V128) {
        good = vector_matches(expected, value->v128);
    } else if (!text) {
        good = false;
    } else if (code == ABI_I32 || code == ABI_F32) {
        good = lane_matches(text, 4, value->u32);
    } else if (code == ABI_I64 || code == ABI_F64) {
        good = lane_matches(text, 8, value->u64);
    } else if (strcmp(text, "*") == 0) { /* any but null */
        good = value->ref != 0;
    } else if (code == ABI_EXTERNREF) {
        good = value->ref == externref_word(text);
    } else {
        good = strcmp(text, "null") == 0 && value->ref == 0;
    }
    return good ? VALUE_OK : VALUE_WRONG;
}

enum value_outcome value_matches(const json_t *expected, struct valtype type,
                                 const union abi_value *value, char *ret_text, size_t size) {
    enum value_outcome outcome = matches(expected, type, value);
    if (outcome != VALUE_WRONG) return outcome;
    auto_free char *wanted = json_dumps(expected, JSON_COMPACT | JSON_ENCODE_ANY);
    uint64_t high;
    memcpy(&high, value->v128 + 8, sizeof high);
    switch (type.code) {
    case ABI_I32:
    case ABI_F32:
        snprintf(ret_text, size, "got %s %" PRIu32 " (0x%08" PRIx32 "), expected %s",
                 valtype_name(type), value->u32, value->u32, wanted ? wanted : "?");
        break;
    case ABI_V128:
        snprintf(ret_text, size, "got v128 0x%016" PRIx64 "%016" PRIx64 ", expected %s", high,
                 value->u64, wanted ? wanted : "?");
        break;
    default:
        snprintf(ret_text, size, "got %s %" PRIu64 " (0x%016" PRIx64 "), expected %s",
                 valtype_name(type), value->u64, value->u64, wanted ? wanted : "?");
        break;
    }
    return outcome;
}
