/*
 * The first bytes of a profile to its shape: how many functions, sites and indirect calls it
 * has tables for, and from that where everything lies. The runtime, which writes profiles, and
 * the compiler, which reads them, both ask here.
 */
#include "abi/abi.h"

enum status abi_profile_shape(const uint8_t *bytes, uint64_t size,
                              struct abi_profile_shape *ret_shape, struct error *err) {
    if (size < ABI_PROFILE_HEADER_SIZE || memcmp(bytes, ABI_PROFILE_MAGIC, 8) != 0)
        return error_set(err, ST_DAMAGED, "this is no profile: wrong magic");
    struct reader r = reader_over(bytes + 8, ABI_PROFILE_HEADER_SIZE - 8);
    uint32_t version = reader_u32(&r);
    if (version != ABI_PROFILE_VERSION)
        return error_set(err, ST_INCOMPATIBLE,
                         "profile format version %u, this program reads version %u", version,
                         ABI_PROFILE_VERSION);
    struct abi_profile_shape s = {.run_count = reader_u32(&r)};
    s.function_count = reader_u32(&r);
    s.site_count = reader_u32(&r);
    s.call_count = reader_u32(&r);
    uint32_t zero = reader_u32(&r);
    memcpy(s.module.bytes, reader_bytes(&r, sizeof s.module.bytes), sizeof s.module.bytes);
    if (zero != 0) return error_set(err, ST_DAMAGED, "damaged profile: its header");
    /* 32-bit counts times small sizes: nothing wraps 64 bits */
    uint64_t sites = s.site_count, calls = s.call_count;
    s.tables_size = ABI_PROFILE_HEADER_SIZE +
                    ABI_PROFILE_FUNCTION_SIZE * (uint64_t)s.function_count +
                    ABI_PROFILE_SITE_SIZE * sites + ABI_PROFILE_CALL_SIZE * calls;
    s.file_size = s.tables_size + 8 * sites +
                  ABI_PROFILE_VALUE_SIZE * ABI_PROFILE_TARGETS * calls +
                  ABI_PROFILE_CHECKSUM_SIZE;
    s.counters_size =
        8 * sites + sizeof(struct abi_profile_target) * ABI_PROFILE_TARGETS * calls;
    *ret_shape = s;
    return ST_OK;
}
