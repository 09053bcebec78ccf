/*
 * The features of the processor we run on, as bits of ABI_X86_FEATURES, from CPUID (Intel SDM
 * volume 2A, CPUID). A vector feature counts only where the kernel saves the registers for it
 * (XCR0), so that code compiled for it never dies of SIGILL. No file is read: a tenant asks
 * too.
 */
#include "abi/abi.h"

#include <cpuid.h>

#define XCR0_AVX 0x6u     /* SSE and AVX state */
#define XCR0_AVX512 0xe6u /* and opmask, upper halves, upper registers */

static uint32_t xcr0_low(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    (void)high;
    return low;
}

uint16_t abi_host_arch(void) { return ABI_ARCH_X86_64; }

/* CPUID takes tens of microseconds in a virtual machine. */
static uint64_t read_features(void) {
    uint32_t a, b, c1 = 0, b7 = 0, c81 = 0, d, unused;
    if (!__get_cpuid(1, &a, &unused, &c1, &d)) return 0;
    if (!__get_cpuid_count(7, 0, &a, &b7, &unused, &d)) b7 = 0;
    if (!__get_cpuid(0x80000001u, &a, &b, &c81, &d)) c81 = 0;
    uint32_t xcr0 = (c1 & bit_OSXSAVE) ? xcr0_low() : 0;
    bool avx = (xcr0 & XCR0_AVX) == XCR0_AVX;
    bool avx512 = (xcr0 & XCR0_AVX512) == XCR0_AVX512;

    /* In the order of ABI_X86_FEATURES. */
    const bool has[] = {
        c1 & bit_CMPXCHG16B,
        c81 & bit_LAHF_LM,
        c1 & bit_POPCNT,
        c1 & bit_SSSE3,
        c1 & bit_SSE4_1,
        c1 & bit_SSE4_2,
        avx && (c1 & bit_AVX),
        avx && (b7 & bit_AVX2),
        b7 & bit_BMI,
        b7 & bit_BMI2,
        avx && (c1 & bit_F16C),
        avx && (c1 & bit_FMA),
        c81 & bit_ABM,
        c1 & bit_MOVBE,
        avx512 && (b7 & bit_AVX512F),
        avx512 && (b7 & bit_AVX512BW),
        avx512 && (b7 & bit_AVX512CD),
        avx512 && (b7 & bit_AVX512DQ),
        avx512 && (b7 & bit_AVX512VL),
    };
#define FEATURE(bit, name) +1
    _Static_assert(countof(has) == 0 ABI_X86_FEATURES(FEATURE), "a row for each feature");
#undef FEATURE
    uint64_t features = 0;
    for (unsigned i = 0; i < countof(has); i++)
        if (has[i]) features |= UINT64_C(1) << i;
    return features;
}

uint64_t abi_cpu_features(void) {
    static uint64_t known;
    static bool asked;
    if (asked) return known; /* a store would be a page for each tenant */
    known = read_features();
    asked = true;
    return known;
}

unsigned abi_cpu_level(void) {
    static const uint64_t levels[] = {ABI_X86_64_V4, ABI_X86_64_V3, ABI_X86_64_V2};
    for (unsigned i = 0; i < countof(levels); i++)
        if ((levels[i] & ~abi_cpu_features()) == 0) return 4 - i;
    return 0;
}
