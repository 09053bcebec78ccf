/* struct cache_options' describe_object: the store knows bytes, this knows code objects. */
#ifndef HUTCH_TOOLS_OBJECT_DESCRIBE_H
#define HUTCH_TOOLS_OBJECT_DESCRIBE_H

#include "cache/cache.h"

bool object_describe(const uint8_t *bytes, uint64_t size_bytes, struct cache_entry *entry);

#endif
