/* Operations on tables that helpers.c hands on. Private to runtime; spec core 4.4.6. */
#ifndef HUTCH_RUNTIME_TABLE_H
#define HUTCH_RUNTIME_TABLE_H

#include "runtime/instance.h"

struct abi_table *table_at(struct instance *instance, uint32_t table);
enum abi_trap table_set(struct instance *instance, uint32_t table, uint32_t index,
                        uint64_t ref);
enum abi_trap table_fill(struct instance *instance, uint32_t table, uint32_t at, uint64_t ref,
                         uint32_t length);
/* Old size, or -1. */
int32_t table_grow(struct instance *instance, uint32_t table, uint64_t ref, uint32_t delta);
enum abi_trap table_copy(struct instance *instance, uint32_t to_table, uint32_t from_table,
                         uint32_t to, uint32_t from, uint32_t length);

#endif
