/*
 * Codes to words: value types, helpers, traps, sections, kinds. Each table comes from the list
 * that also makes the enum, so none can fall out of step. Nothing here allocates.
 */
#include "abi/abi.h"

const char *valtype_name(struct valtype type) {
    switch (type.code) {
    case ABI_I32: return "i32";
    case ABI_I64: return "i64";
    case ABI_F32: return "f32";
    case ABI_F64: return "f64";
    case ABI_V128: return "v128";
    case ABI_FUNCREF: return "funcref";
    case ABI_EXTERNREF: return "externref";
    case ABI_EXNREF: return "exnref";
    case ABI_REF_NULL: return "(ref null)";
    case ABI_REF: return "(ref)";
    default: return "?";
    }
}

static bool types_equal(const struct valtype *a, const struct valtype *b, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        if (!valtype_equal(a[i], b[i])) return false;
    return true;
}

bool functype_equal(const struct functype *a, const struct functype *b) {
    return a->param_count == b->param_count && a->result_count == b->result_count &&
           types_equal(a->params, b->params, a->param_count) &&
           types_equal(a->results, b->results, a->result_count);
}

/* A bounded text being built; what does not fit is dropped and marked at the end. */
struct text {
    char *at;
    size_t left; /* with the terminator */
    bool cut;
};

static void text_put(struct text *t, const char *word) {
    size_t length = strlen(word);
    if (length >= t->left) {
        t->cut = true;
        length = t->left - 1;
    }
    memcpy(t->at, word, length);
    t->at += length;
    t->left -= length;
    *t->at = 0;
}

static void text_types(struct text *t, const struct valtype *types, uint32_t count) {
    text_put(t, "(");
    for (uint32_t i = 0; i < count && !t->cut; i++) {
        if (i) text_put(t, ", ");
        text_put(t, valtype_name(types[i]));
    }
    text_put(t, ")");
}

void functype_print(const struct functype *type, char *ret_text, size_t size) {
    if (size == 0) return;
    struct text t = {.at = ret_text, .left = size};
    *ret_text = 0;
    text_types(&t, type->params, type->param_count);
    text_put(&t, " -> ");
    text_types(&t, type->results, type->result_count);
    if (t.cut && size >= 4) memcpy(ret_text + size - 4, "...", 4);
}

const char *abi_helper_name(enum abi_helper helper) {
    static const char *const names[] = {
#define HELPER(name, params, results) #name,
#include "abi/helpers.def"
    };
    return (size_t)helper < countof(names) ? names[helper] : "?";
}

const char *abi_trap_message(enum abi_trap trap) {
    static const char *const messages[] = {
#define TRAP(name, message) message,
#include "abi/traps.def"
    };
    return (size_t)trap < countof(messages) ? messages[trap] : "unknown trap";
}

const char *abi_section_name(enum abi_section section) {
    static const char *const names[] = {
#define SECTION(name, elf_name, flags) elf_name,
#include "abi/sections.def"
    };
    return (size_t)section < countof(names) ? names[section] : "?";
}

const char *abi_extern_kind_name(enum abi_extern_kind kind) {
    switch (kind) {
    case ABI_EXTERN_FUNC: return "function";
    case ABI_EXTERN_TABLE: return "table";
    case ABI_EXTERN_MEMORY: return "memory";
    case ABI_EXTERN_GLOBAL: return "global";
    case ABI_EXTERN_TAG: return "tag";
    default: return "?";
    }
}

const char *abi_arch_name(unsigned arch) {
    switch (arch) {
    case ABI_ARCH_X86_64: return "x86-64";
    case ABI_ARCH_AARCH64: return "aarch64";
    default: return "unknown architecture";
    }
}

const char *abi_placement_name(unsigned placement) {
    switch (placement) {
    case ABI_PINNED: return "pinned";
    case ABI_RELOCATABLE: return "relocatable";
    default: return "unknown placement";
    }
}

const char *abi_cpu_feature_name(unsigned bit) {
    static const char *const names[] = {
#define FEATURE(bit, name) [bit] = name,
        ABI_X86_FEATURES(FEATURE)
#undef FEATURE
    };
    return bit < countof(names) && names[bit] ? names[bit] : "unknown CPU feature";
}
