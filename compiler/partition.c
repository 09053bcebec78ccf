/*
 * A module's functions in partitions of about PARTITION_BYTES of Wasm code, compiled on several
 * threads, each in an LLVM context of its own. The split depends on the module only, and every
 * partition is compiled alone, so the objects do not depend on the number of threads or on
 * timing. Neighbouring functions stay together: producers put callers near callees. Functions
 * of other partitions that are small, or that a profile says are hot, are lowered where they
 * are called too, for inlining alone.
 *
 * Partition 0 also holds the thunks, the trap stubs and the memory routines.
 */
#include "compiler/partition.h"
#include "compiler/link.h"
#include "compiler/profile.h"
#include "compiler/routines.h"

#include <pthread.h>
#include <unistd.h>

#define PARTITION_BYTES (UINT64_C(256) << 10)
/* Bodies that may be inlined into other partitions: any, and one that a profile says is hot. */
#define BORROW_BYTES 96u
#define BORROW_HOT_BYTES 512u
#define BORROW_DEPTH 2u /* calls from the partition's own functions to a borrowed one */

enum status partitions_plan(const struct module *module, struct arena *arena,
                            struct partitions *ret_partitions, struct error *err) {
    uint64_t total = 0;
    for (uint32_t i = module->imported_functions; i < module->function_count; i++)
        total += module->functions[i].body_size;
    uint32_t count = (uint32_t)(total / PARTITION_BYTES) + 1;
    struct partition *items = arena_array(arena, count, sizeof *items);
    if (!items) return error_set(err, ST_NO_MEMORY, "out of memory");
    uint32_t next = module->imported_functions;
    uint64_t done = 0;
    for (uint32_t p = 0; p < count; p++) {
        items[p].first = next;
        uint64_t upto = total * (p + 1) / count;
        while (next < module->function_count && (done < upto || p == count - 1))
            done += module->functions[next++].body_size;
        items[p].end = next;
    }
    *ret_partitions = (struct partitions){.count = count, .items = items};
    return ST_OK;
}

/* ---- one partition ----------------------------------------------------------------------- */

static LLVMValueRef add_anchor(struct lower_module *m, const char *name, uint64_t address) {
    LLVMValueRef anchor = LLVMAddFunction(m->llvm, name, m->anchor_type);
    static const char *const attributes[] = {"nounwind", "willreturn", "speculatable",
                                             "nocallback"};
    for (size_t i = 0; i < countof(attributes); i++) {
        unsigned kind = LLVMGetEnumAttributeKindForName(attributes[i], strlen(attributes[i]));
        LLVMAddAttributeAtIndex(anchor, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                                LLVMCreateEnumAttribute(m->context, kind, 0));
    }
    /* memory(none) is the enum attribute `memory` with value 0 */
    unsigned memory = LLVMGetEnumAttributeKindForName("memory", 6);
    LLVMAddAttributeAtIndex(anchor, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                            LLVMCreateEnumAttribute(m->context, memory, 0));
    /* from which LLVM learns what is aligned, Wasm's own word being a mere hint */
    uint64_t align = address & -address;
    unsigned kind = LLVMGetEnumAttributeKindForName("align", 5);
    LLVMAddAttributeAtIndex(
        anchor, LLVMAttributeReturnIndex,
        LLVMCreateEnumAttribute(m->context, kind,
                                align < ABI_WASM_PAGE ? align : ABI_WASM_PAGE));
    return anchor;
}

/* An alias scope list of one scope, known by its name within our domain. */
static LLVMMetadataRef scope_list(struct lower_module *m, const char *name) {
    LLVMMetadataRef domain_name = LLVMMDStringInContext2(m->context, "hutch", 5);
    LLVMMetadataRef domain = LLVMMDNodeInContext2(m->context, &domain_name, 1);
    LLVMMetadataRef parts[] = {LLVMMDStringInContext2(m->context, name, strlen(name)), domain};
    LLVMMetadataRef scope = LLVMMDNodeInContext2(m->context, parts, 2);
    return LLVMMDNodeInContext2(m->context, &scope, 1);
}

static void make_types(struct lower_module *m) {
    LLVMContextRef c = m->context;
    m->i1 = LLVMInt1TypeInContext(c);
    m->i8 = LLVMInt8TypeInContext(c);
    m->i16 = LLVMInt16TypeInContext(c);
    m->i32 = LLVMInt32TypeInContext(c);
    m->i64 = LLVMInt64TypeInContext(c);
    m->f32 = LLVMFloatTypeInContext(c);
    m->f64 = LLVMDoubleTypeInContext(c);
    m->ptr = LLVMPointerTypeInContext(c, 0);
    m->void_type = LLVMVoidTypeInContext(c);
    m->v16i8 = LLVMVectorType(m->i8, 16);
    m->v8i16 = LLVMVectorType(m->i16, 8);
    m->v4i32 = LLVMVectorType(m->i32, 4);
    m->v2i64 = LLVMVectorType(m->i64, 2);
    m->v4f32 = LLVMVectorType(m->f32, 4);
    m->v2f64 = LLVMVectorType(m->f64, 2);
    m->trap_type = LLVMFunctionType(m->void_type, NULL, 0, false);
    m->anchor_type = LLVMFunctionType(m->ptr, NULL, 0, false);
}

static unsigned kind_id(LLVMContextRef context, const char *name) {
    return LLVMGetMDKindIDInContext(context, name, (unsigned)strlen(name));
}

static void make_debug(struct lower_module *m) {
    const char *name = m->module->name ? m->module->name : "module.wasm";
    static const char producer[] = "hutch " HUTCH_VERSION;
    m->di = LLVMCreateDIBuilder(m->llvm);
    m->di_file = LLVMDIBuilderCreateFile(m->di, name, strlen(name), "", 0);
    m->di_unit = LLVMDIBuilderCreateCompileUnit(
        m->di, LLVMDWARFSourceLanguageC, m->di_file, producer, sizeof producer - 1, true, "", 0,
        0, "", 0, LLVMDWARFEmissionLineTablesOnly, 0, false, false, "", 0, "", 0);
    m->di_function_type =
        LLVMDIBuilderCreateSubroutineType(m->di, m->di_file, NULL, 0, LLVMDIFlagZero);
    LLVMMetadataRef version = LLVMValueAsMetadata(LLVMConstInt(m->i32, 3, false));
    LLVMAddModuleFlag(m->llvm, LLVMModuleFlagBehaviorWarning, "Debug Info Version", 18,
                      version);
}

/* Where each table's entries lie in a pinned process. */
static uint64_t *table_addresses(const struct module *module, const struct abi_layout *layout,
                                 struct arena *arena) {
    uint32_t capacities[MODULE_MAX_TABLES];
    uint64_t *addresses = arena_array(arena, module->table_count, sizeof *addresses);
    module_table_capacities(module, capacities);
    for (uint32_t i = 0; addresses && i < module->table_count; i++)
        addresses[i] = abi_table_address(layout, capacities, i);
    return addresses;
}

struct job {
    const struct module *module;
    const struct compile_options *options;
    struct partitions *partitions;
    pthread_mutex_t lock;
    uint32_t next, functions_done; /* under the lock, likewise below */
    uint32_t failed;               /* the first partition that failed, or UINT32_MAX */
    struct error error;            /* its error */
};

static void report_progress(struct job *job, const char *step, uint32_t more) {
    if (!job->options->progress) return;
    pthread_mutex_lock(&job->lock);
    job->functions_done += more;
    job->options->progress(job->options->progress_context, step, job->functions_done,
                           job->module->function_count - job->module->imported_functions);
    pthread_mutex_unlock(&job->lock);
}

/* Whether a function that only other partitions define is worth a copy for inlining. */
static bool worth_borrowing(const struct module *module, uint32_t function) {
    const struct profile_plan *plan = module->profile;
    uint32_t own = function - module->imported_functions;
    uint32_t size = module->functions[function].body_size;
    if (!plan || !profile_tells(plan, own)) return size <= BORROW_BYTES;
    if (plan->max_counts[own] <= plan->summary.cold_count) return false;
    return size <=
           (plan->max_counts[own] >= plan->summary.hot_count ? BORROW_HOT_BYTES : BORROW_BYTES);
}

/*
 * Lowers what the functions so far call and the partition does not define. Which functions
 * those are is settled before the first of them declares more.
 */
static enum status borrow(struct lower_module *m, const struct partition *p,
                          struct arena *arena, struct arena *scratch, struct error *err) {
    const struct module *module = m->module;
    if (m->options->level < COMPILE_O2) return ST_OK;
    uint32_t *wanted = arena_array(arena, module->function_count, sizeof *wanted);
    if (!wanted) return error_set(err, ST_NO_MEMORY, "out of memory");
    for (uint32_t depth = 0; depth < BORROW_DEPTH; depth++) {
        uint32_t count = 0;
        for (uint32_t i = module->imported_functions; i < module->function_count; i++)
            if ((i < p->first || i >= p->end) && m->functions[i] &&
                LLVMCountBasicBlocks(m->functions[i]) == 0 && worth_borrowing(module, i))
                wanted[count++] = i;
        for (uint32_t k = 0; k < count; k++) {
            enum status status = lower_function(m, wanted[k], scratch, err);
            if (status != ST_OK) return error_wrap(err, "function %u", wanted[k]);
            LLVMSetLinkage(m->functions[wanted[k]], LLVMAvailableExternallyLinkage);
        }
    }
    return ST_OK;
}

static enum status lower_partition(struct lower_module *m, const struct job *job,
                                   uint32_t index, struct arena *arena, struct error *err) {
    const struct partition *p = &job->partitions->items[index];
    struct abi_counts counts = module_counts(m->module);
    enum status status = abi_layout_compute(m->options->placement, &counts, &m->layout, err);
    if (status != ST_OK) return status;
    m->functions = arena_array(arena, m->module->function_count, sizeof *m->functions);
    if (!m->functions) return error_set(err, ST_NO_MEMORY, "out of memory");
    if (m->options->placement == ABI_PINNED) {
        m->table_entries = table_addresses(m->module, &m->layout, arena);
        if (!m->table_entries) return error_set(err, ST_NO_MEMORY, "out of memory");
        m->memory_anchor = add_anchor(m, LOWER_MEMORY_ANCHOR, ABI_MEMORY_BASE);
        m->instance_anchor = add_anchor(m, LOWER_INSTANCE_ANCHOR, ABI_INSTANCE_BASE);
    }
    status = lower_plan_calls(m, arena, err);
    if (index == 0 && status == ST_OK) {
        lower_thunks(m);
        lower_traps_define(m);
        status = lower_define_calls(m, arena, err);
        if (status == ST_OK) status = routines_add(m, err);
    }
    struct arena scratch = {0};
    for (uint32_t i = p->first; i < p->end && status == ST_OK; i++) {
        status = lower_function(m, i, &scratch, err);
        if (status != ST_OK) error_wrap(err, "function %u", i);
    }
    if (status == ST_OK) status = borrow(m, p, arena, &scratch, err);
    arena_finish(&scratch);
    if (status == ST_OK && m->has_wide) status = routines_add_wide(m, err);
    if (status == ST_OK && m->has_known) status = routines_add_known(m, err);
    if (m->di) LLVMDIBuilderFinalize(m->di);
    return status;
}

static enum status compile_partition(struct job *job, uint32_t index, struct error *err) {
    struct lower_module m = {.module = job->module, .options = job->options};
    struct arena arena = {0};
    m.context = LLVMContextCreate();
    LLVMContextSetDiscardValueNames(m.context, !job->options->dump_dir);
    m.llvm = LLVMModuleCreateWithNameInContext("wasm", m.context);
    make_types(&m);
    lower_profile_module(&m);
    m.alias_scope_kind = kind_id(m.context, "alias.scope");
    m.noalias_kind = kind_id(m.context, "noalias");
    m.invariant_kind = kind_id(m.context, "invariant.load");
    m.memory_only = scope_list(&m, "memory");
    m.instance_only = scope_list(&m, "instance");
    if (job->options->debug_lines) make_debug(&m);
    enum status status = lower_partition(&m, job, index, &arena, err);
    if (m.di) LLVMDisposeDIBuilder(m.di);
    if (status == ST_OK)
        status = optimise_and_emit(&m, index, &job->partitions->items[index].object, err);
    LLVMDisposeModule(m.llvm);
    LLVMContextDispose(m.context);
    arena_finish(&arena);
    return status;
}

/* ---- threads ----------------------------------------------------------------------------- */

static void *work(void *context) {
    struct job *job = context;
    for (;;) {
        pthread_mutex_lock(&job->lock);
        uint32_t index = job->next;
        bool stop = index >= job->partitions->count || job->failed != UINT32_MAX;
        if (!stop) job->next++;
        pthread_mutex_unlock(&job->lock);
        if (stop) return NULL;
        struct error err = {0};
        if (compile_partition(job, index, &err) == ST_OK) {
            const struct partition *p = &job->partitions->items[index];
            report_progress(job, "compile", p->end - p->first);
            continue;
        }
        pthread_mutex_lock(&job->lock);
        if (index < job->failed) {
            job->failed = index;
            job->error = err;
        }
        pthread_mutex_unlock(&job->lock);
    }
}

enum status partitions_compile(const struct module *module,
                               const struct compile_options *options,
                               struct partitions *partitions, struct error *err) {
    optimise_init();
    struct job job = {
        .module = module, .options = options, .partitions = partitions, .failed = UINT32_MAX};
    if (pthread_mutex_init(&job.lock, NULL) != 0)
        return error_set(err, ST_NO_MEMORY, "cannot create a mutex");
    report_progress(&job, "compile", 0);
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t jobs = options->jobs ? options->jobs : processors > 0 ? (uint32_t)processors : 1;
    if (jobs > partitions->count) jobs = partitions->count;
    if (jobs > 64) jobs = 64;
    /* LLVM recurses deeply on hostile control flow: a large stack, of which little is touched
     */
    pthread_t threads[64];
    uint32_t started = 0;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, (size_t)256 << 20);
    while (started < jobs && pthread_create(&threads[started], &attributes, work, &job) == 0)
        started++;
    pthread_attr_destroy(&attributes);
    if (started == 0) work(&job); /* no thread to be had: here, then */
    for (uint32_t i = 0; i < started; i++) pthread_join(threads[i], NULL);
    pthread_mutex_destroy(&job.lock);
    if (job.failed == UINT32_MAX) return ST_OK;
    *err = job.error;
    return err->status;
}

void partitions_finish(struct partitions *partitions) {
    for (uint32_t i = 0; i < partitions->count; i++)
        if (partitions->items[i].object) LLVMDisposeMemoryBuffer(partitions->items[i].object);
    *partitions = (struct partitions){0};
}
