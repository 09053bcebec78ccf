/*
 * CRC-32C (RFC 3720, appendix B.4): by the processor's instruction where it has one, else bit
 * by bit, for there is little to check.
 */
#include "base/base.h"

#ifdef __x86_64__
#include <cpuid.h>
#include <nmmintrin.h>

/* Not __builtin_cpu_supports: it asks the processor a dozen questions before main in every
 * program that holds it, and in a virtual machine each of them costs microseconds. */
static bool has_instruction(void) {
    static int known; /* 1: no, 2: yes */
    int answer = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (answer == 0) {
        unsigned a, b, c = 0, d;
        answer = __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSE4_2) ? 2 : 1;
        __atomic_store_n(&known, answer, __ATOMIC_RELAXED);
    }
    return answer == 2;
}

__attribute__((target("sse4.2"))) static uint32_t
by_instruction(uint32_t crc, const uint8_t *at, size_t size) {
    uint64_t wide = crc;
    for (; size >= 8; at += 8, size -= 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        wide = _mm_crc32_u64(wide, word);
    }
    crc = (uint32_t)wide;
    while (size--) crc = _mm_crc32_u8(crc, *at++);
    return crc;
}
#endif

uint32_t crc32c(uint32_t crc, const void *bytes, size_t size) {
    const uint8_t *at = bytes;
#ifdef __x86_64__
    if (has_instruction()) return by_instruction(crc, at, size);
#endif
    while (size--) {
        crc ^= *at++;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0x82f63b78) : 0);
    }
    return crc;
}
