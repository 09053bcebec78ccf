/* LLVM IR of one partition to an ELF object in memory. Private to compiler/. */
#ifndef HUTCH_COMPILER_OPTIMISE_H
#define HUTCH_COMPILER_OPTIMISE_H

#include "compiler/lower.h"

#include <llvm-c/TargetMachine.h>

/* Once a process, before the first partition. */
void optimise_init(void);
/* Optimises and emits. *ret_object is disposed of by the caller with LLVMDisposeMemoryBuffer.
 */
enum status optimise_and_emit(struct lower_module *m, uint32_t partition,
                              LLVMMemoryBufferRef *ret_object, struct error *err) must_check;
/* irreducible.c */
void restore_entries(struct lower_module *m);
/* keep_traps.c */
void keep_traps(struct lower_module *m);
/* rebase.c */
void rebase_counters(struct lower_module *m);
/* reroll.c */
void roll_loops(struct lower_module *m);
/* nowrap.c */
void mark_nowrap(struct lower_module *m);
/* dispatch.c */
void replicate_dispatch(struct lower_module *m);
/* below.c */
void fold_below_pointers(struct lower_module *m);
/* saturate_x86.c */
void saturate_vectors(struct lower_module *m);
/* canonicalize.c */
void widen_canonicalize(struct lower_module *m);

#endif
