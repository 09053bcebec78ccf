/*
 * Values of a function between the command line and slots, for --invoke. Spellings as wasmtime
 * has them: floats are printed in full, without an exponent, in the fewest digits that read
 * back the same.
 */
#ifndef HUTCH_TOOLS_INVOKE_H
#define HUTCH_TOOLS_INVOKE_H

#include "abi/abi.h"

/* ST_USAGE where text is no value of this type. */
enum status value_parse(const char *text, struct valtype type, union abi_value *ret_value,
                        struct error *err) must_check;
void value_print(const union abi_value *value, struct valtype type, struct buffer *b);

#endif
