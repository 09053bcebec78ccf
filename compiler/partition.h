/* Functions to partitions, and partitions to ELF objects on several threads. Private. */
#ifndef HUTCH_COMPILER_PARTITION_H
#define HUTCH_COMPILER_PARTITION_H

#include "compiler/optimise.h"

struct partition {
    uint32_t first, end;        /* function indices */
    LLVMMemoryBufferRef object; /* after partitions_compile */
};

struct partitions {
    uint32_t count;
    struct partition *items; /* in the arena given */
};

/* Splits the module's own functions, by size of code alone: never by the number of threads. */
enum status partitions_plan(const struct module *module, struct arena *arena,
                            struct partitions *ret_partitions, struct error *err) must_check;
/* Compiles each; on failure the error is that of the first partition that failed. */
enum status partitions_compile(const struct module *module,
                               const struct compile_options *options,
                               struct partitions *partitions, struct error *err) must_check;
void partitions_finish(struct partitions *partitions);

#endif
