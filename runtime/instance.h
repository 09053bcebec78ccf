/*
 * instance: what the runtime keeps beside the instance block. Private to runtime.
 *
 * The block (abi.h) holds what generated code reads; struct instance holds what only the host
 * needs: types as declared, who owns a memory or a table, which segments are dropped. A memory,
 * table or global belongs to the instance that defines it, or that was given a fresh one by the
 * host; other instances borrow it, so instances that were linked are destroyed together, at the
 * end.
 */
#ifndef HUTCH_RUNTIME_INSTANCE_H
#define HUTCH_RUNTIME_INSTANCE_H

#include "runtime/runtime.h"

/* Address space kept below a relocatable memory too: folded addresses may fall short of it. */
#define MEMORY_GUARD_BELOW UINT64_C(0x10000)
#define TABLE_DEFAULT_MAX 10000000u

struct memory {
    struct abi_memory *abi; /* in the owner's block */
    struct abi_limits declared;
    void *mapping;
    uint64_t mapping_bytes;
    uint64_t guard_low, guard_high; /* a fault in here is an access to this memory */
    bool refused;                   /* it could not grow, once */
    struct memory *next;            /* of all in the process: memory_find */
};

struct table {
    struct abi_table *abi; /* in the owner's block */
    struct abi_table_type declared;
    void *mapping; /* relocatable: of the entries */
    uint64_t mapping_bytes;
};

struct global {
    union abi_value *cell;
    struct abi_global_type type;
};

struct import_binding {
    host_function function;
    void *context;
};

#define INSTANCE_MAGIC UINT64_C(0x6863747548736e69)

struct instance {
    uint64_t magic;
    const struct code *code;
    const struct abi_object *object;
    enum abi_placement placement;
    struct abi_instance *block;
    uint64_t block_bytes; /* as mapped */
    struct abi_layout layout;
    struct instance_limits limits;
    struct arena arena;             /* everything below */
    struct import_binding *imports; /* of functions; function is NULL for another instance's */
    struct memory **memories;       /* all, imported ones first; likewise below */
    struct table **tables;
    struct global *globals;
    struct memory *own_memories; /* as many as memories; abi is NULL where borrowed */
    struct table *own_tables;
    bool *elem_dropped, *data_dropped;
    uint32_t next_exception; /* where the search for a free record begins */
    struct instance *next;   /* of all in the process */
    bool initialised, starting;
    struct snapshot *snapshot; /* what it was resumed from, borrowed; or NULL */
    struct wasi *wasi;         /* of a resumed one */
    bool restarting;           /* instance_restart was called */
    uint64_t *counters;        /* of an instrumented object, else NULL */
    size_t counters_bytes;
    /* set by a host function for the result it is about to give */
    enum abi_trap trap;
    char detail[160];
    int exit_code;
};

/* All in the process, the newest first. */
extern struct instance *instances;

/* ---- instance.c ---- */
/* code_complete, which must succeed. */
void code_completed(const struct code *code);
/* The instance whose block this is. */
struct instance *instance_of_block(const struct abi_instance *block);

/* An instance with its arrays, and nothing in them; instance_destroy also ends half a one. */
enum status instance_begin(const struct code *code, const struct instance_limits *limits,
                           struct instance **ret_instance, struct error *err) must_check;
/* Address space for the block: nothing of it accessible. */
enum status instance_reserve_block(struct instance *instance, struct error *err) must_check;
/* What in the block is this process's, and not the guest's: writes it; and takes it out of a
 * copy that is to be the same wherever it was made. */
void instance_attach(struct instance *instance);
void instance_detach(struct abi_instance *block);
/* Makes memory or table `index` of this type in the instance's own block. */
enum status instance_make_memory(struct instance *instance, uint32_t index,
                                 const struct abi_limits *limits, struct error *err) must_check;
enum status instance_make_table(struct instance *instance, uint32_t index,
                                const struct abi_table_type *type,
                                struct error *err) must_check;
/* The record of a function whose code is this object's: own, or the thunk of a host import. */
struct abi_func instance_own_func(const struct instance *instance, uint32_t index);

/* ---- profile.c ---- */
/* Maps the counters of an instrumented object; nothing to do for others. */
enum status profile_map(struct instance *instance, struct error *err) must_check;
void profile_unmap(struct instance *instance);

/* ---- link_imports.c ---- */
/* Resolves and checks every import (spec core 4.5.4), filling imports, memories, tables,
 * globals and the block's function records of the imported ones. */
enum status link_imports(struct instance *instance, import_resolver resolve, void *context,
                         struct error *err) must_check;

/* Resolves the imports, all of them functions of the host, and leaves the block alone: it has
 * their records already. */
enum status link_host_functions(struct instance *instance, import_resolver resolve,
                                void *context, struct error *err) must_check;

/* ---- type_ids.c ---- */
/* The id of a type in relocatable code: not 0, equal for structurally equal types. */
enum status type_id_of(const struct functype *type, uint32_t *ret,
                       struct error *err) must_check;
void type_ids_finish(void);

/* ---- memory.c ---- */
/* Reserves a memory of these limits and makes its first pages accessible. abi is filled in. */
enum status memory_create(struct memory *memory, struct abi_memory *abi,
                          enum abi_placement placement, uint32_t index,
                          const struct abi_limits *limits, uint64_t max_bytes,
                          struct error *err) must_check;
void memory_destroy(struct memory *memory);
/* Maps the object's initial pages into a fresh memory 0. */
enum status memory_map_image(struct memory *memory, const struct code *code,
                             struct error *err) must_check;
/* Old size in pages, or -1. */
int32_t memory_grow(struct memory *memory, uint32_t delta_pages);
/* The memory whose reservation holds this address, or NULL. From signal handlers too. */
const struct memory *memory_find(uint64_t address);
enum abi_trap memory_init(struct instance *instance, uint32_t memory, uint32_t segment,
                          uint64_t to, uint64_t from, uint64_t length);

/* ---- table.c ---- */
/* address: of the entries (pinned), or 0 for anywhere. */
enum status table_create(struct table *table, struct abi_table *abi, uint64_t address,
                         uint32_t capacity, const struct abi_table_type *type,
                         uint32_t max_entries, struct error *err) must_check;
void table_destroy(struct table *table);
enum abi_trap table_init(struct instance *instance, uint32_t table, uint32_t segment,
                         uint32_t to, uint32_t from, uint32_t length);

/* ---- exception.c ---- */
/* The word that says which tag tag `index` is. */
uint64_t *exception_tag(const struct instance *instance, uint32_t index);
/* Goes from the guest's call of the gate to the handler in its frames: the newest crossing then
 * says where the guest goes on. Or a trap. */
enum abi_trap exception_throw(struct instance *instance, uint32_t tag,
                              const union abi_value *values);
enum abi_trap exception_throw_ref(uint64_t exception);

/* ---- helpers.c ---- */
/* Runs a helper: arguments in slots, result into slots[0]. */
enum abi_trap helper_run(struct instance *instance, uint32_t helper, union abi_value *slots);

/* ---- constexpr.c ---- */
/* ST_DAMAGED or ST_LIMIT where a program cannot be run. */
enum status const_expr_check(const struct abi_object *object, const struct abi_const_expr *expr,
                             struct error *err) must_check;
/* Value of a checked constant expression; globals that it reads are initialised. */
union abi_value const_expr_value(struct instance *instance, const struct abi_const_expr *expr);

#endif
