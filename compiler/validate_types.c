/*
 * Equal types to one index (spec core 3.0 3.3.6; in 2.0 types are equal by structure). By
 * sorting, not by a hash table: nobody can choose types that make it slow.
 */
#include "compiler/validate.h"

static int compare_lists(uint32_t a_count, const struct valtype *a, uint32_t b_count,
                         const struct valtype *b) {
    if (a_count != b_count) return a_count < b_count ? -1 : 1;
    for (uint32_t i = 0; i < a_count; i++) {
        if (a[i].code != b[i].code) return a[i].code < b[i].code ? -1 : 1;
        if (a[i].heap != b[i].heap) return a[i].heap < b[i].heap ? -1 : 1;
    }
    return 0;
}

static int compare_types(const struct functype *a, const struct functype *b) {
    int order = compare_lists(a->param_count, a->params, b->param_count, b->params);
    if (order) return order;
    return compare_lists(a->result_count, a->results, b->result_count, b->results);
}

/* By structure, and equal ones by index, so that a group begins with its canonical one. */
static int compare_indices(const void *a, const void *b, void *types_) {
    const struct module_type *types = types_;
    uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    int order = compare_types(&types[i].func, &types[j].func);
    return order ? order : i < j ? -1 : i > j;
}

enum status canonicalise_types(struct module *m, struct arena *scratch, struct error *err) {
    uint32_t *order = arena_array(scratch, m->type_count, sizeof *order);
    if (!order) return error_set(err, ST_NO_MEMORY, "out of memory for validation");
    for (uint32_t i = 0; i < m->type_count; i++) order[i] = i;
    qsort_r(order, m->type_count, sizeof *order, compare_indices, m->types);
    uint32_t canonical = 0;
    for (uint32_t i = 0; i < m->type_count; i++) {
        if (i == 0 || compare_types(&m->types[order[i]].func, &m->types[canonical].func) != 0)
            canonical = order[i];
        m->types[order[i]].canonical = canonical;
    }
    return ST_OK;
}
