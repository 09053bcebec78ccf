/*
 * libyaml's events -> a tree of nodes. The parser hands out one event at a time, so a limit
 * ends the reading before memory is spent. Without aliases a file cannot grow: a tree never has
 * more bytes than its file.
 *
 * The scalars stay text. What a word means is said by whoever reads the key it stands under:
 * `version: 3.10` and `country: no` are what they look like.
 */
#include "serve/yaml_tree.h"

#include <yaml.h>

struct parse {
    yaml_parser_t parser;
    const char *file;
    struct arena *arena;
    uint32_t nodes;
    struct error *err;
};

static void cleanup_event(yaml_event_t *event) { yaml_event_delete(event); }
#define auto_event __attribute__((cleanup(cleanup_event)))

static enum status refuse(struct parse *p, size_t line, const char *text) {
    return error_set(p->err, ST_INVALID, "%s:%zu: %s", p->file, line + 1, text);
}

/* The parser's own complaint, with the line it means. */
static enum status parser_failed(struct parse *p) {
    const yaml_parser_t *y = &p->parser;
    const char *problem = y->problem ? y->problem : "it cannot be read";
    switch (y->error) {
    case YAML_MEMORY_ERROR: return error_set(p->err, ST_NO_MEMORY, "out of memory");
    case YAML_READER_ERROR:
        return error_set(p->err, ST_INVALID, "%s:%zu: %s (byte %zu)", p->file, y->mark.line + 1,
                         problem, y->problem_offset);
    case YAML_SCANNER_ERROR:
    case YAML_PARSER_ERROR:
    case YAML_NO_ERROR:
    case YAML_COMPOSER_ERROR:
    case YAML_WRITER_ERROR:
    case YAML_EMITTER_ERROR:
    default:
        if (y->context)
            return error_set(p->err, ST_INVALID, "%s:%zu: %s (%s that begins on line %zu)",
                             p->file, y->problem_mark.line + 1, problem, y->context,
                             y->context_mark.line + 1);
        return error_set(p->err, ST_INVALID, "%s:%zu: %s", p->file, y->problem_mark.line + 1,
                         problem);
    }
}

static enum status next_event(struct parse *p, yaml_event_t *event) {
    if (!yaml_parser_parse(&p->parser, event)) return parser_failed(p);
    return ST_OK;
}

static enum status copy_text(struct parse *p, const yaml_event_t *event, const char **ret) {
    const yaml_char_t *value = event->data.scalar.value;
    size_t length = event->data.scalar.length;
    if (memchr(value, 0, length))
        return refuse(p, event->start_mark.line, "a text may not hold the character U+0000");
    char *copy = arena_string(p->arena, value, length);
    if (!copy) return error_set(p->err, ST_NO_MEMORY, "out of memory");
    *ret = copy;
    return ST_OK;
}

static bool is_null(const yaml_event_t *event, const char *text) {
    if (event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) return false;
    return !text[0] || strcmp(text, "~") == 0 || strcmp(text, "null") == 0;
}

static enum status no_extras(struct parse *p, const yaml_event_t *event,
                             const yaml_char_t *anchor, const yaml_char_t *tag) {
    if (anchor)
        return refuse(p, event->start_mark.line,
                      "anchors and aliases (&name, *name) are not taken: write it out");
    if (tag) return refuse(p, event->start_mark.line, "tags (!name) are not taken");
    return ST_OK;
}

static enum status build(struct parse *p, const yaml_event_t *event, unsigned depth,
                         struct tree_node **ret_node);

static void append(struct tree_node *parent, struct tree_node ***tail, struct tree_node *node) {
    **tail = node;
    *tail = &node->next;
    parent->count++;
}

static enum status build_list(struct parse *p, struct tree_node *list, unsigned depth) {
    struct tree_node **tail = &list->first;
    for (;;) {
        auto_event yaml_event_t event = {0};
        enum status status = next_event(p, &event);
        if (status != ST_OK) return status;
        if (event.type == YAML_SEQUENCE_END_EVENT) return ST_OK;
        struct tree_node *node;
        if ((status = build(p, &event, depth + 1, &node)) != ST_OK) return status;
        append(list, &tail, node);
    }
}

static enum status read_key(struct parse *p, const struct tree_node *map,
                            const yaml_event_t *event, const char **ret_key) {
    if (event->type != YAML_SCALAR_EVENT)
        return refuse(p, event->start_mark.line, "a key must be a word");
    enum status status = no_extras(p, event, event->data.scalar.anchor, event->data.scalar.tag);
    if (status != ST_OK || (status = copy_text(p, event, ret_key)) != ST_OK) return status;
    if (strcmp(*ret_key, "<<") == 0)
        return refuse(p, event->start_mark.line, "merge keys (<<) are not taken: write it out");
    if (map->count >= TREE_KEYS_MAX)
        return refuse(p, event->start_mark.line, "a mapping has more than 1000 keys");
    const struct tree_node *before = tree_get(map, *ret_key);
    if (!before) return ST_OK;
    return error_set(p->err, ST_INVALID, "%s:%zu: key '%.60s' is given twice, first on line %u",
                     p->file, event->start_mark.line + 1, *ret_key, before->line);
}

static enum status build_map(struct parse *p, struct tree_node *map, unsigned depth) {
    struct tree_node **tail = &map->first;
    for (;;) {
        auto_event yaml_event_t key_event = {0};
        auto_event yaml_event_t event = {0};
        enum status status = next_event(p, &key_event);
        if (status != ST_OK) return status;
        if (key_event.type == YAML_MAPPING_END_EVENT) return ST_OK;
        const char *key = NULL;
        struct tree_node *node;
        if ((status = read_key(p, map, &key_event, &key)) != ST_OK ||
            (status = next_event(p, &event)) != ST_OK ||
            (status = build(p, &event, depth + 1, &node)) != ST_OK)
            return status;
        node->key = key;
        node->line = (uint32_t)key_event.start_mark.line + 1;
        append(map, &tail, node);
    }
}

static enum status build(struct parse *p, const yaml_event_t *event, unsigned depth,
                         struct tree_node **ret_node) {
    size_t line = event->start_mark.line;
    if (depth > TREE_DEPTH_MAX) return refuse(p, line, "nested too deeply (16 levels)");
    if (++p->nodes > TREE_NODES_MAX) return refuse(p, line, "more than 20000 values");
    struct tree_node *node = arena_alloc(p->arena, sizeof *node);
    if (!node) return error_set(p->err, ST_NO_MEMORY, "out of memory");
    node->line = (uint32_t)line + 1;
    *ret_node = node;
    enum status status;
    /* What else there is cannot stand where a value is expected. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wswitch-enum"
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        status = no_extras(p, event, event->data.scalar.anchor, event->data.scalar.tag);
        if (status != ST_OK || (status = copy_text(p, event, &node->text)) != ST_OK)
            return status;
        node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
        node->kind = is_null(event, node->text) ? TREE_NULL : TREE_SCALAR;
        return ST_OK;
    case YAML_SEQUENCE_START_EVENT:
        node->kind = TREE_LIST;
        status = no_extras(p, event, event->data.sequence_start.anchor,
                           event->data.sequence_start.tag);
        return status == ST_OK ? build_list(p, node, depth) : status;
    case YAML_MAPPING_START_EVENT:
        node->kind = TREE_MAP;
        status = no_extras(p, event, event->data.mapping_start.anchor,
                           event->data.mapping_start.tag);
        return status == ST_OK ? build_map(p, node, depth) : status;
    case YAML_ALIAS_EVENT:
        return refuse(p, line,
                      "anchors and aliases (&name, *name) are not taken: write it out");
    default: return refuse(p, line, "a value is missing");
    }
#pragma GCC diagnostic pop
}

/* Stream start, document start, the root, document end, stream end: and nothing else. */
static enum status parse_stream(struct parse *p, struct tree_node **ret_root) {
    bool seen = false;
    for (;;) {
        auto_event yaml_event_t event = {0};
        enum status status = next_event(p, &event);
        if (status != ST_OK) return status;
        if (event.type == YAML_STREAM_END_EVENT) return ST_OK;
        if (event.type == YAML_STREAM_START_EVENT || event.type == YAML_DOCUMENT_END_EVENT)
            continue;
        if (event.type == YAML_DOCUMENT_START_EVENT) {
            if (seen)
                return refuse(p, event.start_mark.line, "only one document (---) is taken");
            seen = true;
            continue;
        }
        if ((status = build(p, &event, 1, ret_root)) != ST_OK) return status;
    }
}

enum status tree_parse(const void *bytes, size_t size, const char *file, struct arena *arena,
                       struct tree_node **ret_root, struct error *err) {
    struct parse p = {.file = file, .arena = arena, .err = err};
    struct tree_node *root = arena_alloc(arena, sizeof *root);
    if (!root || !yaml_parser_initialize(&p.parser))
        return error_set(err, ST_NO_MEMORY, "out of memory");
    root->line = 1;
    yaml_parser_set_input_string(&p.parser, bytes, size);
    yaml_parser_set_encoding(&p.parser, YAML_UTF8_ENCODING);
    enum status status = parse_stream(&p, &root);
    yaml_parser_delete(&p.parser);
    if (status == ST_OK) *ret_root = root;
    return status;
}

const struct tree_node *tree_get(const struct tree_node *map, const char *key) {
    if (map->kind != TREE_MAP) return NULL;
    for (const struct tree_node *child = map->first; child; child = child->next)
        if (strcmp(child->key, key) == 0) return child;
    return NULL;
}
