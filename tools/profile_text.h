/* A profile for people and for programs. Private to tools/. */
#ifndef HUTCH_TOOLS_PROFILE_TEXT_H
#define HUTCH_TOOLS_PROFILE_TEXT_H

#include "compiler/module.h"
#include "compiler/profile.h"

/* The `top` functions that ran most, to standard output. module (validated) gives them names
 * and may be NULL. */
enum status profile_print(const struct profile *profile, const struct module *module,
                          uint32_t top, bool json, struct error *err) must_check;

#endif
