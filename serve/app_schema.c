/*
 * app.def -> a JSON schema (2020-12), for editors: docs/app.schema.json is this output, which a
 * test compares. The schema says how each value looks; what keys say of each other
 * (app_rules.c) is left to `hutch app check`.
 */
#include "serve/app_reading.h"

static void put_quoted(struct buffer *b, const char *text) {
    buffer_put_u8(b, '"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') buffer_put_u8(b, '\\');
        buffer_put_u8(b, (uint8_t)*text);
    }
    buffer_put_u8(b, '"');
}

/* The type's schema, with the description put in front of its members. */
static void put_property(struct buffer *b, const char *indent, const char *name,
                         const struct app_key *key, const char *also) {
    buffer_printf(b, "%s", indent);
    put_quoted(b, name);
    buffer_printf(b, ": {\"description\": ");
    auto_buffer struct buffer text = {0};
    if (also) buffer_printf(&text, "the same as %s: ", also);
    buffer_printf(&text, "%s", key->text);
    if (key->fallback && key->fallback[0] != '!' && key->fallback[0] != '\'' &&
        key->fallback[0] != '{')
        buffer_printf(&text, " (default: %s)", key->fallback);
    buffer_put_u8(&text, 0);
    if (!text.failed) put_quoted(b, (const char *)text.bytes);
    if (key->schema[0] == '{')
        buffer_printf(b, ", %s", key->schema + 1);
    else
        buffer_printf(b, "}");
}

static void put_section(struct buffer *b, enum app_section_id section, const char *indent) {
    buffer_printf(b, "%s\"type\": [\"object\"%s],\n%s\"additionalProperties\": false,\n",
                  indent, section == APP_TOP ? "" : ", \"null\"", indent);
    bool first = true;
    for (const struct app_key *key = app_keys; key->key; key++) {
        if (key->section != section) continue;
        bool must = key->fallback && strcmp(key->fallback, "!") == 0;
        const char *alias = NULL;
        for (const struct app_alias *a = app_aliases; a->key; a++)
            if (a->section == section && strcmp(a->means, key->key) == 0) alias = a->key;
        if (!must && !alias) continue;
        if (first)
            buffer_printf(b, "%s\"allOf\": [\n%s  {", indent, indent);
        else
            buffer_printf(b, ",\n%s  {", indent);
        first = false;
        if (must && alias)
            buffer_printf(b, "\"oneOf\": [{\"required\": [\"%s\"]}, {\"required\": [\"%s\"]}]}",
                          key->key, alias);
        else if (must)
            buffer_printf(b, "\"required\": [\"%s\"]}", key->key);
        else
            buffer_printf(b, "\"not\": {\"required\": [\"%s\", \"%s\"]}}", key->key, alias);
    }
    if (!first) buffer_printf(b, "],\n");
    buffer_printf(b, "%s\"properties\": {", indent);
    first = true;
    char inner[16];
    snprintf(inner, sizeof inner, "\n%s  ", indent);
    for (const struct app_key *key = app_keys; key->key; key++) {
        if (key->section != section) continue;
        if (!first) buffer_printf(b, ",");
        first = false;
        put_property(b, inner, key->key, key, NULL);
        for (const struct app_alias *a = app_aliases; a->key; a++) {
            if (a->section != section || strcmp(a->means, key->key) != 0) continue;
            buffer_printf(b, ",");
            put_property(b, inner, a->key, key, key->key);
        }
    }
    buffer_printf(b, "\n%s}", indent);
}

enum status app_schema(struct buffer *b, struct error *err) {
    buffer_printf(b, "{\n"
                     "  \"$schema\": \"https://json-schema.org/draft/2020-12/schema\",\n"
                     "  \"title\": \"Hutch app.yaml\",\n");
    put_section(b, APP_TOP, "  ");
    buffer_printf(b, ",\n  \"$defs\": {");
    for (unsigned i = APP_TOP + 1; i < APP_SECTION_COUNT; i++) {
        buffer_printf(b, "%s\n    \"%s\": {\n", i == APP_TOP + 1 ? "" : ",",
                      app_section_names[i]);
        put_section(b, (enum app_section_id)i, "      ");
        buffer_printf(b, "\n    }");
    }
    buffer_printf(b, "\n  }\n}\n");
    return buffer_status(b, err);
}
