/*
 * What clang's profile counters need at run time: at the end of the program they are written as
 * a raw profile, which llvm-profdata reads, to the file that $LLVM_PROFILE_FILE names. LLVM's
 * own library for this is not built for wasm32. Linked into the interpreter that build-python
 * trains, and into no other.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* clang's own header: the layout is that of the compiler which made the counters. */
typedef uint32_t IntPtrT;
enum {
#define VALUE_PROF_KIND(Enumerator, Value, Descr) Enumerator = Value,
#include <profile/InstrProfData.inc>
};
typedef struct {
#define INSTR_PROF_DATA(Type, LLVMType, Name, Initializer) Type Name;
#include <profile/InstrProfData.inc>
} data_record;
typedef struct {
#define INSTR_PROF_RAW_HEADER(Type, Name, Initializer) Type Name;
#include <profile/InstrProfData.inc>
} raw_header;
#include <profile/InstrProfData.inc>

/* Bounds of sections, from the linker. */
extern const data_record data_start[] __asm__("__start___llvm_prf_data");
extern const data_record data_stop[] __asm__("__stop___llvm_prf_data");
extern const uint64_t counters_start[] __asm__("__start___llvm_prf_cnts");
extern const uint64_t counters_stop[] __asm__("__stop___llvm_prf_cnts");
extern const char names_start[] __asm__("__start___llvm_prf_names");
extern const char names_stop[] __asm__("__stop___llvm_prf_names");

/* Each object with counters asks for this name. */
int __llvm_profile_runtime;

__attribute__((destructor)) static void write_profile(void) {
    const char *path = getenv("LLVM_PROFILE_FILE");
    if (!path) return;
    raw_header header = {
        .Magic = INSTR_PROF_RAW_MAGIC_32,
        .Version = INSTR_PROF_RAW_VERSION,
        .NumData = data_stop - data_start,
        .NumCounters = counters_stop - counters_start,
        .NamesSize = names_stop - names_start,
        .CountersDelta = (uint32_t)((uintptr_t)counters_start - (uintptr_t)data_start),
        .NamesDelta = (uintptr_t)names_start,
        .ValueKindLast = IPVK_Last,
    };
    static const char padding[8];
    FILE *file = fopen(path, "wb");
    int ok = file && fwrite(&header, sizeof header, 1, file) == 1 &&
             fwrite(data_start, sizeof *data_start, header.NumData, file) == header.NumData &&
             fwrite(counters_start, sizeof *counters_start, header.NumCounters, file) ==
                 header.NumCounters &&
             fwrite(names_start, 1, header.NamesSize, file) == header.NamesSize &&
             fwrite(padding, 1, -header.NamesSize % 8, file) == -header.NamesSize % 8;
    if (file && fclose(file)) ok = 0;
    if (ok) return;
    perror(path);
    _exit(1);
}
