/*
 * hutch key: makes the keys that sign bundles, and keeps the list of those this node believes.
 *
 *   generate [-o NAME]     NAME.key (private, 0600) and NAME.pub
 *   list                   the trusted and the revoked ones
 *   trust FILE.pub         believe what this key signs
 *   revoke NAME|ID|FILE    never again, whoever trusts it; native code that was imported under
 *                          it goes to the cache's quarantine
 */
#include "tools/bundle_cli.h"
#include "tools/object_describe.h"

#include <fcntl.h>
#include <unistd.h>

struct key_options {
    const char *output, *trust_dir, *name, *reason, *cache_dir;
    bool json, help;
};

static char *joined(const char *a, const char *b) {
    char *text = NULL;
    return asprintf(&text, "%s%s", a, b) < 0 ? NULL : text;
}

/* "dir/ci.pub" -> "ci" */
static void base_name(const char *path, char ret_name[TRUST_NAME_SIZE]) {
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    size_t length = strlen(base);
    if (length > 4 && strcmp(base + length - 4, ".pub") == 0) length -= 4;
    if (length >= TRUST_NAME_SIZE) length = TRUST_NAME_SIZE - 1;
    memcpy(ret_name, base, length);
    ret_name[length] = '\0';
}

static enum status generate(const struct key_options *o, struct error *err) {
    const char *name = o->output ? o->output : "hutch";
    auto_free char *secret_path = joined(name, ".key"), *public_path = joined(name, ".pub");
    if (!secret_path || !public_path) return error_set(err, ST_NO_MEMORY, "out of memory");
    if (access(public_path, F_OK) == 0)
        return error_set(err, ST_IO, "%s is there already, and a key is never replaced",
                         public_path);
    struct sign_secret secret;
    struct sign_public public;
    enum status status = sign_generate(&secret, err);
    if (status == ST_OK) status = sign_public_of(&secret, &public, err);
    if (status == ST_OK) status = sign_secret_write(secret_path, &secret, err);
    sign_secret_wipe(&secret);
    if (status != ST_OK) return status;
    if ((status = sign_public_write(public_path, &public, err)) != ST_OK) {
        unlink(secret_path); /* half a pair is of no use */
        return status;
    }
    struct digest id = sign_key_id(&public);
    char hex[DIGEST_HEX_SIZE];
    digest_hex(&id, hex);
    printf("%s  private: keep it secret\n%s  public: hutch key trust %s\n%s  id\n", secret_path,
           public_path, public_path, hex);
    return ST_OK;
}

static enum status list(const struct key_options *o, const struct trust_places *places,
                        struct error *err) {
    struct trust trust = {0};
    enum status status = trust_places_load(places, &trust, err);
    json_t *all = o->json ? json_array() : NULL;
    if (status == ST_OK && !o->json && trust.count == 0)
        printf("no key is trusted (%s)\n", places->paths[0]);
    for (uint32_t i = 0; status == ST_OK && i < trust.count; i++) {
        const struct trust_key *k = &trust.keys[i];
        char hex[DIGEST_HEX_SIZE];
        digest_hex(&k->id, hex);
        const char *state = k->revoked ? "revoked" : "trusted";
        if (all)
            json_array_append_new(
                all, json_pack("{s:s, s:s, s:s}", "id", hex, "name", k->name, "state", state));
        else
            printf("%s  %s  %s\n", hex, state, k->name[0] ? k->name : "-");
    }
    trust_finish(&trust);
    if (all && status == ST_OK) {
        json_dumpf(all, stdout, JSON_INDENT(2));
        putchar('\n');
    }
    json_decref(all);
    return status;
}

static enum status trust_key(const struct key_options *o, const struct trust_places *places,
                             const char *file, struct error *err) {
    struct sign_public public;
    char name[TRUST_NAME_SIZE];
    base_name(file, name);
    enum status status = sign_public_read(AT_FDCWD, file, &public, err);
    if (status != ST_OK) return status;
    status = trust_add(places->paths[0], o->name ? o->name : name, &public, err);
    if (status != ST_OK) return status;
    struct digest id = sign_key_id(&public);
    char hex[DIGEST_HEX_SIZE];
    digest_hex(&id, hex);
    printf("%s  trusted  %s  (%s)\n", hex, o->name ? o->name : name, places->paths[0]);
    return ST_OK;
}

/* A name in the list, an id, or a file. */
static enum status find_key(const struct trust_places *places, const char *word,
                            struct digest *ret_id, struct error *err) {
    struct trust trust = {0};
    enum status status = trust_places_load(places, &trust, err);
    bool found = false;
    for (uint32_t i = 0; status == ST_OK && i < trust.count && !found; i++) {
        char hex[DIGEST_HEX_SIZE];
        digest_hex(&trust.keys[i].id, hex);
        found = strcmp(trust.keys[i].name, word) == 0 || strcmp(hex, word) == 0;
        if (found) *ret_id = trust.keys[i].id;
    }
    trust_finish(&trust);
    if (status != ST_OK || found) return status;
    char text[CACHE_NAME_MAX], name[CACHE_NAME_MAX];
    bool is_digest = false;
    struct error ignored = {0};
    snprintf(text, sizeof text, "sha256:%.80s", word); /* a key nobody here has seen yet */
    if (strlen(word) == 64 &&
        cache_name_parse(text, name, &is_digest, ret_id, &ignored) == ST_OK && is_digest)
        return ST_OK;
    struct sign_public public;
    if (access(word, F_OK) != 0)
        return error_set(err, ST_NOT_FOUND, "'%s' is no name or id of a key, and no file",
                         word);
    if ((status = sign_public_read(AT_FDCWD, word, &public, err)) != ST_OK) return status;
    *ret_id = sign_key_id(&public);
    return ST_OK;
}

/* Entries of a signer, as they are met. */
struct signed_by {
    const char *signer;
    struct digest *objects;
    uint32_t count;
    bool failed;
};

static bool collect(void *context, const struct cache_entry *entry) {
    struct signed_by *all = context;
    if (entry->kind != CACHE_OBJECT || strcmp(entry->signer, all->signer) != 0) return true;
    struct digest *grown = realloc(all->objects, (all->count + 1) * sizeof *grown);
    all->failed = grown == NULL;
    if (!grown) return false;
    all->objects = grown;
    grown[all->count++] = entry->digest;
    return true;
}

/* Takes out what native code came in under a key. A cache that is not there is not made. */
static enum status withdraw(const char *cache_dir, const char *signer, struct error *err) {
    struct cache_options where = {
        .path = cache_dir, .read_only = true, .describe_object = object_describe};
    struct cache *cache = NULL;
    enum status status = cache_open(&where, &cache, err);
    if (status == ST_NOT_FOUND) return ST_OK;
    struct signed_by all = {.signer = signer};
    if (status == ST_OK) status = cache_each(cache, collect, &all, err);
    cache_close(steal(cache));
    if (status == ST_OK && all.failed) status = error_set(err, ST_NO_MEMORY, "out of memory");
    if (status == ST_OK && all.count) {
        where.read_only = false;
        status = cache_open(&where, &cache, err);
        for (uint32_t i = 0; i < all.count && status == ST_OK; i++)
            status = cache_quarantine(cache, &all.objects[i], err);
        if (status == ST_OK)
            printf("%u code object%s that it signed taken out of %s\n", all.count,
                   all.count == 1 ? "" : "s", cache_path(cache));
        cache_close(cache);
    }
    free(all.objects);
    return status == ST_OK ? ST_OK : error_wrap(err, "revoked, but the cache");
}

static enum status revoke_key(const struct key_options *o, const struct trust_places *places,
                              const char *word, struct error *err) {
    struct digest id = {0};
    enum status status = find_key(places, word, &id, err);
    if (status == ST_OK) status = trust_revoke(places->paths[0], &id, o->reason, err);
    if (status != ST_OK) return status;
    char hex[DIGEST_HEX_SIZE];
    digest_hex(&id, hex);
    printf("%s  revoked  (%s)\n", hex, places->paths[0]);
    return withdraw(o->cache_dir, hex, err);
}

static enum status key(int argc, char **argv, struct key_options *o, const char **words,
                       struct error *err) {
    const struct argument table[] = {
        {.letter = 'o', .name = "output", .value = &o->output},
        {.name = "trust-dir", .value = &o->trust_dir},
        {.name = "name", .value = &o->name},
        {.name = "reason", .value = &o->reason},
        {.name = "cache-dir", .value = &o->cache_dir},
        {.name = "json", .flag = &o->json},
        {.letter = 'h', .name = "help", .flag = &o->help},
    };
    uint32_t count = 0;
    enum status status = arguments_parse(argc, argv, table, countof(table), words, &count, err);
    if (status != ST_OK || o->help) return status;
    static const char *const verbs[] = {"generate", "list", "trust", "revoke", NULL};
    if (count == 0) return error_set(err, ST_USAGE, "generate, list, trust or revoke?");
    size_t verb = 0;
    while (verbs[verb] && strcmp(verbs[verb], words[0]) != 0) verb++;
    if (!verbs[verb]) {
        const char *near = cli_near(words[0], verbs);
        return error_set(err, ST_USAGE, "there is no 'key %s'%s%s%s", words[0],
                         near ? ", did you mean " : "", near ? near : "", near ? "?" : "");
    }
    if (count != (verb < 2 ? 1 : 2))
        return error_set(err, ST_USAGE,
                         verb < 2   ? "key %s takes no file"
                         : verb < 3 ? "key %s takes one file with a public key"
                                    : "key %s takes one name, id or file",
                         words[0]);
    if (verb == 0) return generate(o, err);
    struct trust_places places;
    if ((status = trust_places_find(o->trust_dir, &places, err)) != ST_OK) return status;
    if (verb == 1) return list(o, &places, err);
    return verb == 2 ? trust_key(o, &places, words[1], err)
                     : revoke_key(o, &places, words[1], err);
}

int cmd_key(int argc, char **argv) {
    struct key_options options = {0};
    struct error err = {0};
    auto_free const char **words = calloc((size_t)argc + 1, sizeof *words);
    enum status status = words ? key(argc, argv, &options, words, &err)
                               : error_set(&err, ST_NO_MEMORY, "out of memory");
    if (status == ST_OK && options.help) help_print("key");
    return status == ST_OK ? EXIT_DONE : cli_report("key", NULL, &err);
}
