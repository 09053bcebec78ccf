/*
 * A profile to text, or to JSON with everything in it: the functions that ran most, their
 * calls, branches and targets. With the module at hand functions have names and numbers;
 * without it they are known by their digests.
 */
#include "tools/profile_text.h"

#include <jansson.h>

struct row {
    uint32_t function; /* of the profile */
    uint64_t calls, most;
};

struct view {
    const struct profile *profile;
    const struct module *module;
    uint32_t
        *places; /* function of the module for each of the profile; NULL without a module */
    uint32_t matched;
    struct row *rows;
};

static int by_weight(const void *a, const void *b) {
    const struct row *x = a, *y = b;
    if (x->most != y->most) return x->most > y->most ? -1 : 1;
    return x->function < y->function ? -1 : x->function > y->function;
}

static void describe(const struct view *v, uint32_t function, char *ret_name, size_t size) {
    const struct profile_function *f = &v->profile->functions[function];
    int n = 0;
    for (size_t i = 0; i < 6; i++)
        n += snprintf(ret_name + n, size - (size_t)n, "%02x", f->digest[i]);
    if (!v->places || v->places[function] == PROFILE_NO_FUNCTION) return;
    uint32_t index = v->module->imported_functions + v->places[function];
    const char *name = v->module->functions[index].name;
    snprintf(ret_name, size, "%s[%u]", name ? name : "wasm-function", index);
}

static enum status match_module(struct view *v, struct arena *arena, struct error *err) {
    struct profile own;
    struct profile_index index, of_profile;
    enum status status = profile_of_module(v->module, arena, &own, err);
    if (status == ST_OK) status = profile_index_make(&own, arena, &index, err);
    if (status == ST_OK) status = profile_index_make(v->profile, arena, &of_profile, err);
    if (status != ST_OK) return status;
    v->places = arena_array(arena, v->profile->function_count, sizeof *v->places);
    if (!v->places) return error_set(err, ST_NO_MEMORY, "out of memory");
    for (uint32_t i = 0; i < v->profile->function_count; i++) {
        v->places[i] =
            profile_index_find(&index, v->profile->functions[i].digest, of_profile.nth[i]);
        v->matched += v->places[i] != PROFILE_NO_FUNCTION;
    }
    return ST_OK;
}

static void print_text(const struct view *v, uint32_t top) {
    const struct profile *p = v->profile;
    uint32_t ran = 0;
    for (uint32_t i = 0; i < p->function_count; i++) ran += v->rows[i].most > 0;
    char hex[DIGEST_HEX_SIZE];
    digest_hex(&p->module, hex);
    static const struct digest none;
    printf("module     %s\n", digest_equal(&p->module, &none) ? "several" : hex);
    printf("runs       %u\n", p->run_count);
    printf("functions  %u, %u of them ran\n", p->function_count, ran);
    printf("counters   %u, and the targets of %u indirect calls\n", p->site_count,
           p->call_count);
    if (v->module)
        printf("matches    %u of the module's %u functions\n", v->matched,
               v->module->function_count - v->module->imported_functions);
    if (top && ran) printf("\n%16s %16s  %s\n", "calls", "hottest count", "function");
    for (uint32_t i = 0; i < top && i < ran; i++) {
        char name[200];
        describe(v, v->rows[i].function, name, sizeof name);
        printf("%16llu %16llu  %s\n", (unsigned long long)v->rows[i].calls,
               (unsigned long long)v->rows[i].most, name);
    }
}

/* jansson's integers are signed. */
static json_t *integer(uint64_t value) {
    return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

static json_t *function_json(const struct view *v, const struct row *row) {
    const struct profile *p = v->profile;
    const struct profile_function *f = &p->functions[row->function];
    char digest[2 * PROFILE_DIGEST_SIZE + 1], name[200];
    for (size_t i = 0; i < PROFILE_DIGEST_SIZE; i++)
        snprintf(digest + 2 * i, 3, "%02x", f->digest[i]);
    json_t *sites = json_array(), *calls = json_array();
    for (uint32_t k = f->first_site + 1; k < f->first_site + f->site_count; k++)
        json_array_append_new(sites, json_pack("{s:I, s:I, s:o}", "instruction",
                                               (json_int_t)p->sites[k].instruction, "arm",
                                               (json_int_t)p->sites[k].arm, "count",
                                               integer(p->counts[k])));
    for (uint32_t k = f->first_call; k < f->first_call + f->call_count; k++) {
        json_t *targets = json_array();
        for (uint32_t t = 0; t < ABI_PROFILE_TARGETS; t++) {
            const struct profile_target *target = &p->targets[k * ABI_PROFILE_TARGETS + t];
            if (target->function == PROFILE_NO_FUNCTION) continue;
            describe(v, target->function, name, sizeof name);
            json_array_append_new(targets, json_pack("{s:s, s:o}", "function", name, "count",
                                                     integer(target->count)));
        }
        json_array_append_new(calls, json_pack("{s:I, s:o}", "instruction",
                                               (json_int_t)p->calls[k], "targets", targets));
    }
    describe(v, row->function, name, sizeof name);
    bool placed = v->places && v->places[row->function] != PROFILE_NO_FUNCTION;
    json_t *value = json_pack("{s:s, s:s, s:o, s:o, s:o, s:o}", "name", name, "digest", digest,
                              "calls", integer(row->calls), "hottest", integer(row->most),
                              "sites", sites, "indirect_calls", calls);
    if (value && placed)
        json_object_set_new(
            value, "index",
            json_integer((json_int_t)v->module->imported_functions + v->places[row->function]));
    return value;
}

static enum status print_json(const struct view *v, uint32_t top, struct error *err) {
    const struct profile *p = v->profile;
    char hex[DIGEST_HEX_SIZE];
    digest_hex(&p->module, hex);
    json_t *functions = json_array();
    for (uint32_t i = 0; i < p->function_count && i < top; i++)
        json_array_append_new(functions, function_json(v, &v->rows[i]));
    json_t *value =
        json_pack("{s:s, s:I, s:I, s:I, s:I, s:o}", "module", hex, "runs",
                  (json_int_t)p->run_count, "function_count", (json_int_t)p->function_count,
                  "site_count", (json_int_t)p->site_count, "indirect_call_count",
                  (json_int_t)p->call_count, "functions", functions);
    if (!value) return error_set(err, ST_NO_MEMORY, "out of memory");
    if (v->module) json_object_set_new(value, "matched", json_integer(v->matched));
    int failed = json_dumpf(value, stdout, JSON_INDENT(1));
    json_decref(value);
    putchar('\n');
    return failed ? error_set_errno(err, ST_IO, "cannot write") : ST_OK;
}

enum status profile_print(const struct profile *p, const struct module *module, uint32_t top,
                          bool json, struct error *err) {
    auto_arena struct arena arena = {0};
    struct view v = {.profile = p, .module = module};
    v.rows = arena_array(&arena, p->function_count, sizeof *v.rows);
    if (!v.rows) return error_set(err, ST_NO_MEMORY, "out of memory");
    for (uint32_t i = 0; i < p->function_count; i++) {
        const struct profile_function *f = &p->functions[i];
        v.rows[i] = (struct row){.function = i, .calls = p->counts[f->first_site]};
        for (uint32_t k = f->first_site; k < f->first_site + f->site_count; k++)
            if (p->counts[k] > v.rows[i].most) v.rows[i].most = p->counts[k];
    }
    qsort(v.rows, p->function_count, sizeof *v.rows, by_weight);
    enum status status = module ? match_module(&v, &arena, err) : ST_OK;
    if (status != ST_OK) return status;
    if (json) {
        status = print_json(&v, top, err);
    } else {
        print_text(&v, top);
    }
    if (status == ST_OK && (fflush(stdout) != 0 || ferror(stdout)))
        status = error_set_errno(err, ST_IO, "cannot write");
    return status;
}
