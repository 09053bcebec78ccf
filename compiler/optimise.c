/*
 * The pass list, and from IR to an ELF object in memory:
 *
 *   folding -> keep_traps -> the level's pipeline -> anchors become constants -> code generator
 *
 * LLVM's errors come as strings (a pass pipeline, the verifier, the target) and end as
 * ST_INTERNAL: the IR is ours, so they are never the module's fault.
 */
#include "compiler/optimise.h"

#include <llvm-c/Analysis.h>
#include <llvm-c/Error.h>
#include <llvm-c/Support.h>
#include <llvm-c/Target.h>
#include <llvm-c/Transforms/PassBuilder.h>

#include <pthread.h>

static void init_once(void) {
    LLVMInitializeNativeTarget();
    LLVMInitializeNativeAsmPrinter();
    static const char *const options[] = {
        "hutch",
        /* the bases of memory and instance block would go into registers; as a displacement
         * in the instruction they cost nothing */
        "-disable-constant-hoisting",
        /* a load must not sink past a branch: it would trap after another trap, or not at all
         */
        "-instcombine-code-sinking=false",
        "-disable-machine-sink",
        /* saving a register counts as much as 10,000/16,384 of an instruction each time the
         * function is called: where only ways that seldom run want it, they spill instead */
        "-regalloc-csr-first-time-cost=10000",
        /* conditions that a way has decided before, through blocks of up to so many
         * instructions (6): what producers leave of goto is full of them */
        "-jump-threading-threshold=12",
        /* moves on conditions (select, min, max) stay moves: as branches they are no faster
         * where the condition can be foreseen, and twice as slow where not */
        "-x86-cmov-converter=0",
    };
    LLVMParseCommandLineOptions((int)countof(options), options, NULL);
}

void optimise_init(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_once);
}

static enum status create_machine(const struct compile_options *options,
                                  LLVMTargetMachineRef *ret, struct error *err) {
    const char *cpu;
    uint64_t features;
    enum status status = compile_resolve_target(options->target, &cpu, &features, err);
    if (status != ST_OK) return status;
    static const char triple[] = "x86_64-unknown-linux-gnu";
    LLVMTargetRef target;
    char *message = NULL;
    if (LLVMGetTargetFromTriple(triple, &target, &message)) {
        status = error_set(err, ST_INTERNAL, "LLVM: %s", message);
        LLVMDisposeMessage(message);
        return status;
    }
    static const LLVMCodeGenOptLevel levels[] = {
        [COMPILE_FAST + 1] = LLVMCodeGenLevelNone,  [COMPILE_O0 + 1] = LLVMCodeGenLevelNone,
        [COMPILE_O1 + 1] = LLVMCodeGenLevelLess,    [COMPILE_O2 + 1] = LLVMCodeGenLevelDefault,
        [COMPILE_O3 + 1] = LLVMCodeGenLevelDefault,
    };
    /* pinned code knows its address: jump tables and constants by absolute address */
    LLVMRelocMode mode = options->placement == ABI_PINNED ? LLVMRelocStatic : LLVMRelocPIC;
    /* no vzeroupper before calls and returns: nothing in an object is SSE's old encoding where
     * the target has AVX, and on the way to the host the gate does it */
    *ret = LLVMCreateTargetMachine(target, triple, cpu, "-vzeroupper",
                                   levels[options->level + 1], mode, LLVMCodeModelSmall);
    return *ret ? ST_OK : error_set(err, ST_INTERNAL, "LLVM: no target machine for %s", cpu);
}

static enum status run_passes(struct lower_module *m, const char *passes,
                              LLVMTargetMachineRef machine, LLVMPassBuilderOptionsRef options,
                              struct error *err) {
    LLVMErrorRef error = LLVMRunPasses(m->llvm, passes, machine, options);
    if (!error) return ST_OK;
    char *message = LLVMGetErrorMessage(error);
    enum status status = error_set(err, ST_INTERNAL, "LLVM: %s", message);
    LLVMDisposeErrorMessage(message);
    return status;
}

/*
 * Puts the address in the place of value. What is at a constant distance from it becomes an
 * address as well: as a sum of another block it would be one in a register.
 */
static void put_address(struct lower_module *m, LLVMValueRef value, uint64_t address) {
    for (LLVMUseRef use = LLVMGetFirstUse(value); use;) {
        LLVMValueRef user = LLVMGetUser(use);
        use = LLVMGetNextUse(use);
        if (!LLVMIsAGetElementPtrInst(user) || LLVMGetNumOperands(user) != 2 ||
            LLVMGetGEPSourceElementType(user) != m->i8)
            continue;
        LLVMValueRef distance = LLVMGetOperand(user, 1);
        if (!LLVMIsAConstantInt(distance)) continue;
        put_address(m, user, address + (uint64_t)LLVMConstIntGetSExtValue(distance));
    }
    LLVMReplaceAllUsesWith(value,
                           LLVMConstIntToPtr(LLVMConstInt(m->i64, address, false), m->ptr));
    LLVMInstructionEraseFromParent(value);
}

/*
 * Every call of an anchor becomes the constant address. See placement.c. Found by name: the
 * optimiser deletes a declaration that nothing calls.
 */
static void resolve_anchor(struct lower_module *m, const char *name, uint64_t address) {
    LLVMValueRef anchor = LLVMGetNamedFunction(m->llvm, name);
    if (!anchor) return;
    for (LLVMUseRef use; (use = LLVMGetFirstUse(anchor));)
        put_address(m, LLVMGetUser(use), address);
    LLVMDeleteFunction(anchor);
}

static enum status verify(struct lower_module *m, const char *when, struct error *err) {
    char *message = NULL;
    enum status status = ST_OK;
    if (LLVMVerifyModule(m->llvm, LLVMReturnStatusAction, &message))
        status = error_set(err, ST_INTERNAL, "IR %s: %s", when, message);
    LLVMDisposeMessage(message);
    return status;
}

static enum status dump(struct lower_module *m, uint32_t partition, const char *stage,
                        struct error *err) {
    if (!m->options->dump_dir) return ST_OK;
    char path[4096];
    snprintf(path, sizeof path, "%s/partition-%u.%s.ll", m->options->dump_dir, partition,
             stage);
    char *message = NULL;
    if (!LLVMPrintModuleToFile(m->llvm, path, &message)) return ST_OK;
    enum status status = error_set(err, ST_IO, "cannot write %s: %s", path, message);
    LLVMDisposeMessage(message);
    return status;
}

/* Of a level: the passes before keep_traps, and those after. */
struct pipeline {
    const char *before, *after; /* after NULL: loads stay volatile, and every trap is exact */
};

/* What a use folds away to must be seen before keep_traps decides. */
#define FOLDING "function(mem2reg,instcombine<no-verify-fixpoint>,sccp,simplifycfg)"

static const struct pipeline pipelines[] = {
    [COMPILE_FAST + 1] = {"function(mem2reg,early-cse,simplifycfg)", NULL},
    [COMPILE_O0 + 1] = {"function(mem2reg)", NULL},
    [COMPILE_O1 + 1] = {FOLDING, "default<O1>"},
    [COMPILE_O2 + 1] = {FOLDING, "default<O2>"},
    [COMPILE_O3 + 1] = {FOLDING, "default<O3>"},
};

static enum status optimise(struct lower_module *m, uint32_t partition,
                            LLVMTargetMachineRef machine, struct error *err) {
    LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
    bool vectorize = m->options->level >= COMPILE_O2;
    LLVMPassBuilderOptionsSetLoopVectorization(options, vectorize);
    LLVMPassBuilderOptionsSetSLPVectorization(options, vectorize);
    LLVMPassBuilderOptionsSetLoopUnrolling(options, vectorize);
    const struct pipeline *pipeline = &pipelines[m->options->level + 1];
    enum status status = verify(m, "from the lowering", err);
    if (status == ST_OK) status = dump(m, partition, "lowered", err);
    if (status == ST_OK && pipeline->after) restore_entries(m);
    if (status == ST_OK) status = run_passes(m, pipeline->before, machine, options, err);
    if (status == ST_OK && pipeline->after) {
        keep_traps(m);
        rebase_counters(m);
        if (vectorize) roll_loops(m);
        mark_nowrap(m);
        status = run_passes(m, pipeline->after, machine, options, err);
        if (status == ST_OK && vectorize) {
            replicate_dispatch(m);
            saturate_vectors(m);
        }
        if (status == ST_OK) fold_below_pointers(m);
    }
    LLVMDisposePassBuilderOptions(options);
    if (status != ST_OK) return status;
    widen_canonicalize(m);
    resolve_anchor(m, LOWER_MEMORY_ANCHOR, ABI_MEMORY_BASE);
    resolve_anchor(m, LOWER_INSTANCE_ANCHOR, ABI_INSTANCE_BASE);
    return dump(m, partition, "optimised", err);
}

enum status optimise_and_emit(struct lower_module *m, uint32_t partition,
                              LLVMMemoryBufferRef *ret_object, struct error *err) {
    LLVMTargetMachineRef machine = NULL;
    enum status status = create_machine(m->options, &machine, err);
    if (status != ST_OK) return status;
    LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(machine);
    LLVMSetModuleDataLayout(m->llvm, layout);
    LLVMDisposeTargetData(layout);
    char *triple = LLVMGetTargetMachineTriple(machine);
    LLVMSetTarget(m->llvm, triple);
    LLVMDisposeMessage(triple);
    status = optimise(m, partition, machine, err);
    if (status == ST_OK) {
        char *message = NULL;
        if (LLVMTargetMachineEmitToMemoryBuffer(machine, m->llvm, LLVMObjectFile, &message,
                                                ret_object)) {
            status = error_set(err, ST_INTERNAL, "LLVM: %s", message);
            LLVMDisposeMessage(message);
        }
    }
    LLVMDisposeTargetMachine(machine);
    return status;
}
