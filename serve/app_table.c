/* app.def as tables. */
#include "serve/app_reading.h"

#define APP_TYPE(type, schema) static const char schema_##type[] = schema;
#include "serve/app.def"

/* So that offsetof can be asked for a member of a section's struct. */
#define APP_SECTION(id, name, type)                                                            \
    struct section_##id {                                                                      \
        type value;                                                                            \
    };
#include "serve/app.def"

const struct app_key app_keys[] = {
#define APP_KEY(section, key, type, member, fallback, text)                                    \
    {APP_##section, key,  app_read_##type, offsetof(struct section_##section, value.member),   \
     fallback,      text, schema_##type},
#include "serve/app.def"
    {0},
};

const struct app_alias app_aliases[] = {
#define APP_ALIAS(section, key, means) {APP_##section, key, means},
#include "serve/app.def"
    {0},
};

const char *const app_section_names[APP_SECTION_COUNT] = {
#define APP_SECTION(id, name, type) name,
#include "serve/app.def"
};
