/*
 * The names and types of WASI's imports. The types are checked against preview1's witx
 * documents by hand for a few; for all, that they are functions of i32 and i64 with one i32
 * back.
 */
#include "runtime/runtime.h"
#include "tests/unit/test.h"

static bool resolve_kind(const char *module, const char *name, enum abi_extern_kind kind,
                         struct extern_value *ret) {
    struct abi_import import = {.module = module,
                                .module_length = (uint32_t)strlen(module),
                                .name = name,
                                .name_length = (uint32_t)strlen(name),
                                .kind = kind};
    return wasi_resolve(NULL, &import, NULL, ret);
}

static bool resolve(const char *module, const char *name, struct extern_value *ret) {
    return resolve_kind(module, name, ABI_EXTERN_FUNC, ret);
}

static void expect_type(const char *name, const char *type) {
    struct extern_value value = {0};
    char text[256];
    EXPECT(resolve("wasi_snapshot_preview1", name, &value));
    functype_print(&value.function_type, text, sizeof text);
    EXPECT_STR(text, type);
}

int main(void) {
    static const char *const names[] = {
#define WASI_FUNCTION(name, params, call) #name,
#define WASI_UNSTABLE(name, params, call)
#include "runtime/wasi_functions.def"
        "proc_exit",
    };
    EXPECT(countof(names) == 46);
    struct extern_value value, old;
    for (size_t i = 0; i < countof(names); i++) {
        EXPECT(resolve("wasi_snapshot_preview1", names[i], &value));
        EXPECT(value.kind == ABI_EXTERN_FUNC && value.source == EXTERN_HOST && value.function);
        EXPECT(resolve("wasi_unstable", names[i], &old));
        EXPECT(functype_equal(&value.function_type, &old.function_type));
        bool differs =
            strcmp(names[i], "fd_seek") == 0 || strcmp(names[i], "fd_filestat_get") == 0 ||
            strcmp(names[i], "path_filestat_get") == 0 || strcmp(names[i], "poll_oneoff") == 0;
        EXPECT((value.function != old.function) == differs);
    }
    expect_type("fd_seek", "(i32, i64, i32, i32) -> (i32)");
    expect_type("path_open", "(i32, i32, i32, i32, i32, i64, i64, i32, i32) -> (i32)");
    expect_type("path_filestat_set_times", "(i32, i32, i32, i32, i64, i64, i32) -> (i32)");
    expect_type("sched_yield", "() -> (i32)");
    expect_type("proc_exit", "(i32) -> ()");
    EXPECT(!resolve("wasi_snapshot_preview1", "fd_dup", &value));
    EXPECT(!resolve("wasi_snapshot_preview1", "fd_rea", &value));
    EXPECT(!resolve("wasi_snapshot_preview1", "", &value));
    EXPECT(!resolve("wasi_snapshot_preview2", "fd_read", &value));
    EXPECT(!resolve("env", "fd_read", &value));
    EXPECT(!resolve_kind("wasi_unstable", "fd_read", ABI_EXTERN_MEMORY, &value));
    return test_end();
}
