/* What the store asks about code objects, answered by their compatibility record. */
#include "cache/cache.h"
#include "loader/loader.h"
#include "tools/object_describe.h"

bool object_describe(const uint8_t *bytes, uint64_t size_bytes, struct cache_entry *entry) {
    auto_arena struct arena arena = {0};
    struct abi_object object;
    struct error ignored = {0};
    if (object_read(bytes, size_bytes, false, &arena, &object, &ignored) != ST_OK) return false;
    entry->key = cache_key_of(&object.compat.module, &object.compat.compiler);
    entry->module = object.compat.module;
    entry->has_key = entry->has_module = true;
    snprintf(entry->target, sizeof entry->target, "%s", object.compat.target);
    return true;
}
