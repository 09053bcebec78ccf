/*
 * What the files that turn a tree into a struct app share. Private to serve/.
 */
#ifndef HUTCH_SERVE_APP_READING_H
#define HUTCH_SERVE_APP_READING_H

#include "serve/app.h"
#include "serve/yaml_tree.h"

struct reading {
    struct app *app; /* its arena holds the tree as well */
    const char *directory;
    char path[200]; /* of the key being read: "mounts[1].source" */
    struct error *err;
};

/* "app.yaml:12: mounts[1].source: ..."; returns ST_INVALID. */
enum status app_refuse(const struct reading *r, const struct tree_node *node,
                       const char *format, ...) printf_like(3, 4);
enum status app_no_memory(const struct reading *r);
/* Adds to app->notes, without "key: " where key is NULL. */
enum status app_add_note(struct reading *r, uint32_t line, const char *key,
                         const char *text) must_check;
/* The one of count words that was probably meant, or NULL. */
const char *app_near(const char *word, const char *const *words, size_t count);

typedef enum status (*app_reader)(struct reading *r, const struct tree_node *node, void *to);

enum app_section_id {
#define APP_SECTION(id, name, type) APP_##id,
#include "serve/app.def"
    APP_SECTION_COUNT
};
struct app_key {
    enum app_section_id section;
    const char *key;
    app_reader read;
    size_t offset;
    const char *fallback; /* NULL, "!", or YAML */
    const char *text, *schema;
};
struct app_alias {
    enum app_section_id section;
    const char *key, *means;
};
/* The tables (app_table.c); they end with a key of NULL. */
extern const struct app_key app_keys[];
extern const struct app_alias app_aliases[];
extern const char *const app_section_names[APP_SECTION_COUNT];

/* One reader for each type of app.def: node is not TREE_NULL save where the schema allows it.
 */
#define APP_TYPE(type, schema)                                                                 \
    enum status app_read_##type(struct reading *r, const struct tree_node *node, void *to);
#include "serve/app.def"

/* A mapping to the struct of its section. */
enum status app_read_section(struct reading *r, enum app_section_id section,
                             const struct tree_node *node, void *to) must_check;
/* ---- app_values.c ---- */
/* The scalar's text; for a reader that takes nothing else. */
enum status app_scalar(struct reading *r, const struct tree_node *node,
                       const char **ret_text) must_check;
/* A route of the text "host", "host/path" or "/path". */
enum status app_parse_route(struct reading *r, const struct tree_node *node, const char *text,
                            struct app_route *ret_route) must_check;
/* ---- app_rules.c ---- */
/* What no key can say alone; fills in the defaults that depend on other keys. */
enum status app_rules(struct reading *r, const struct tree_node *root) must_check;

#endif
