/*
 * The environment. For a CGI program that is frozen after its start-up, which is before it has
 * looked at its request, also another one in place of the first: libc has copied it to where
 * environ_get was told, an array of pointers and the bytes they point to, and finds the end of
 * the array by a NULL. So more room is given than there are strings, the rest of it stays zero,
 * and the next request's strings are written where the first one's lay:
 *
 *     fixed     what the app was given: stays where it is
 *     slots     for variables that every request has and programs ask for early, so that a
 * pointer which the program has kept (php-cgi asks for QUERY_STRING first of all) is as good
 * for the next request others    one after the other query     the slot of QUERY_STRING
 *
 * A program that copied the request's strings elsewhere, or went by what they say, has another
 * state with another request: such a point is no place to freeze it (tools/snapshot_cgi.c looks
 * for one).
 */
#include "runtime/wasi.h"

/* Together on a page or two: each page costs a fault. The last one is as large as all others.
 */
#define OTHERS_BYTES (UINT32_C(128) << 10)
#define SLOTS(X)                                                                               \
    X("REQUEST_METHOD", 128)                                                                   \
    X("GATEWAY_INTERFACE", 64)                                                                 \
    X("SERVER_PROTOCOL", 64)                                                                   \
    X("SERVER_SOFTWARE", 128)                                                                  \
    X("SERVER_NAME", 512)
#define QUERY "QUERY_STRING"
static const struct slot {
    const char *name;
    uint32_t size;
} slots[] = {
#define X(name, size) {name, size},
    SLOTS(X)
#undef X
};
#define X(name, size) +(size)
#define SLOT_BYTES (0 SLOTS(X))
#define REQUEST_BYTES (SLOT_BYTES + OTHERS_BYTES + OTHERS_BYTES)
static const char filler[] = "HUTCH_ROOM=";

enum status wasi_reserve_environment(struct wasi *w, uint32_t fixed_count, struct error *err) {
    if (fixed_count > w->env.count)
        return error_set(err, ST_USAGE, "%u variables, of which %u stay", w->env.count,
                         fixed_count);
    uint32_t bytes = 0;
    for (uint32_t i = 0; i < fixed_count; i++)
        bytes += (uint32_t)strlen(w->env.bytes + bytes) + 1;
    w->room = (struct wasi_environ_room){
        .reserved = true, .fixed_count = fixed_count, .fixed_bytes = bytes};
    return ST_OK;
}

bool wasi_environment_reserved(const struct wasi *w) { return w->room.reserved; }

static uint32_t room_count(const struct wasi *w) {
    return w->room.fixed_count + WASI_SPARE_VARIABLES;
}

static uint32_t room_bytes(const struct wasi *w) { return w->room.fixed_bytes + REQUEST_BYTES; }

static bool is(const char *text, const char *name) {
    size_t length = strlen(name);
    return strncmp(text, name, length) == 0 && text[length] == '=';
}

/* Where in the buffer each string of env goes, one call each, in their order. UINT32_MAX: there
 * is no room for it. */
struct layout {
    uint32_t index, fixed, others; /* next places */
};

static uint32_t place(const struct wasi *w, struct layout *l, const char *text, uint32_t size) {
    uint32_t at = w->room.fixed_bytes;
    if (l->index++ < w->room.fixed_count) {
        l->fixed += size;
        return l->fixed - size;
    }
    for (size_t k = 0; k < countof(slots); at += slots[k++].size)
        if (is(text, slots[k].name)) return size <= slots[k].size ? at : UINT32_MAX;
    if (is(text, QUERY)) return size <= OTHERS_BYTES ? at + OTHERS_BYTES : UINT32_MAX;
    if (size > OTHERS_BYTES - l->others) return UINT32_MAX;
    l->others += size;
    return at + l->others - size;
}

static enum status check_room(const struct wasi *w, const struct wasi_strings *env,
                              struct error *err) {
    struct layout layout = {0};
    const char *text = env->bytes;
    bool fits = env->count <= room_count(w);
    for (uint32_t i = 0; fits && i < env->count; i++) {
        uint32_t size = (uint32_t)strlen(text) + 1;
        fits = place(w, &layout, text, size) != UINT32_MAX;
        text += size;
    }
    if (fits) return ST_OK;
    return error_set(err, ST_LIMIT,
                     "%u variables of %u bytes, more than the program has room for (%u, %u)",
                     env->count - w->room.fixed_count, env->size_bytes - w->room.fixed_bytes,
                     WASI_SPARE_VARIABLES, OTHERS_BYTES);
}

/* Writes env to where the guest has it; or takes it away from there. */
static enum wasi_errno put(const struct wasi *w, struct guest_memory m, bool away) {
    const struct wasi_strings *env = &w->env;
    uint8_t *vector = guest_array(m, w->room.vector, room_count(w), 4);
    uint8_t *buffer = guest_range(m, w->room.buffer, room_bytes(w));
    if (!vector || !buffer) return WASI_EFAULT;
    struct layout layout = {0};
    const char *text = env->bytes;
    for (uint32_t i = 0; i < env->count; i++) {
        uint32_t size = (uint32_t)strlen(text) + 1;
        uint32_t at = place(w, &layout, text, size);
        if (at == UINT32_MAX) return WASI_EFAULT;
        bool clears = away && i >= w->room.fixed_count;
        if (clears)
            memset(buffer + at, 0, size);
        else
            memcpy(buffer + at, text, size);
        store_u32(vector + (size_t)i * 4, clears ? 0 : w->room.buffer + at);
        text += size;
    }
    return WASI_OK;
}

enum status wasi_request_environment(struct wasi *w, struct guest_memory m, int envc,
                                     const char *const *env, struct error *err) {
    struct wasi_strings added = {0}, all = {0};
    CHECK(w->room.reserved);
    enum status status = wasi_strings_copy(&added, envc, env, "environment", err);
    if (status != ST_OK) return status;
    all.count = w->room.fixed_count + added.count;
    all.size_bytes = w->room.fixed_bytes + added.size_bytes;
    all.bytes = malloc((size_t)all.size_bytes + 1);
    if (!all.bytes) {
        free(added.bytes);
        return error_set(err, ST_NO_MEMORY, "environment");
    }
    memcpy(all.bytes, w->env.bytes, w->room.fixed_bytes);
    memcpy(all.bytes + w->room.fixed_bytes, added.bytes, added.size_bytes);
    free(added.bytes);
    status = check_room(w, &all, err);
    if (status != ST_OK) {
        free(all.bytes);
        return status;
    }
    /* Nothing of the request that was frozen is left behind. */
    enum wasi_errno e = w->room.asked ? put(w, m, true) : WASI_OK;
    free(w->env.bytes);
    w->env = all;
    if (w->room.asked && e == WASI_OK) e = put(w, m, false);
    uint8_t *vector = guest_array(m, w->room.vector, room_count(w), 4);
    if (w->room.asked && vector)
        memset(vector + (size_t)all.count * 4, 0, (size_t)(room_count(w) - all.count) * 4);
    if (e == WASI_OK) return ST_OK;
    return error_set(err, ST_DAMAGED, "the program's environment is not in its memory");
}

uint32_t wasi_environment_asked(const struct wasi *w) { return w->room.asked; }

void wasi_environment_range(const struct wasi *w, struct wasi_request_range ret[2]) {
    const struct wasi_environ_room *room = &w->room;
    memset(ret, 0, 2 * sizeof *ret);
    if (!room->asked) return;
    ret[0] = (struct wasi_request_range){room->vector + room->fixed_count * 4,
                                         WASI_SPARE_VARIABLES * 4};
    ret[1] = (struct wasi_request_range){room->buffer + room->fixed_bytes, REQUEST_BYTES};
}

/* ---- the calls --------------------------------------------------------------------------- */

enum wasi_errno wasi_environ_get(struct wasi *w, struct guest_memory m, uint32_t envp,
                                 uint32_t buffer) {
    if (!w->room.reserved) return wasi_strings_get(&w->env, m, envp, buffer);
    uint8_t *vector = guest_array(m, envp, room_count(w), 4);
    uint8_t *bytes = guest_range(m, buffer, room_bytes(w));
    if (!vector || !bytes) return WASI_EFAULT;
    if (w->room.asked < 2) w->room.asked++;
    w->room.vector = envp;
    w->room.buffer = buffer;
    uint32_t at = w->room.fixed_bytes + REQUEST_BYTES;
    memcpy(bytes + at, filler, sizeof filler);
    for (uint32_t i = 0; i < room_count(w); i++) store_u32(vector + (size_t)i * 4, buffer + at);
    return put(w, m, false);
}

enum wasi_errno wasi_environ_sizes_get(struct wasi *w, struct guest_memory m,
                                       uint32_t ret_count, uint32_t ret_size) {
    uint8_t *count = guest_range(m, ret_count, 4);
    uint8_t *size = guest_range(m, ret_size, 4);
    if (!count || !size) return WASI_EFAULT;
    store_u32(count, w->room.reserved ? room_count(w) : w->env.count);
    store_u32(size, w->room.reserved ? room_bytes(w) : w->env.size_bytes);
    return WASI_OK;
}
