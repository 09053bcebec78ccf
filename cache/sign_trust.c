/*
 * The trust directory to a list of keys. Two kinds of files count:
 *
 *     NAME.pub       a public key (PEM) whose signatures this node believes
 *     ID.revoked     ID: 64 hex digits of a key; the file's text says since when and why.
 *                    It wins over any NAME.pub, so that a key which comes back with a
 *                    configuration management's next run stays revoked
 *
 * Who can write here decides what native code runs: the directory and its files count only
 * where they belong to us or root and nobody else can write to them. A directory that is not
 * there is an empty list.
 */
#include "cache/cache.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TRUST_KEYS_MAX 1024u

static bool others_can_write(const struct stat *st) {
    return (st->st_uid != geteuid() && st->st_uid != 0) || st->st_mode & (S_IWGRP | S_IWOTH);
}

static bool parse_id(const char *text, size_t length, struct digest *ret_id) {
    if (length != DIGEST_HEX_SIZE - 1) return false;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        unsigned digit;
        if (c >= '0' && c <= '9')
            digit = (unsigned)(c - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (unsigned)(c - 'a') + 10;
        else
            return false;
        uint8_t *byte = &ret_id->bytes[i / 2];
        *byte = (uint8_t)(i % 2 ? *byte | digit : digit << 4);
    }
    return true;
}

bool trust_name_valid(const char *name) {
    size_t length = strlen(name);
    if (length == 0 || length >= TRUST_NAME_SIZE || name[0] == '.') return false;
    for (const char *c = name; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("._-@+", *c)) return false;
    return true;
}

static struct trust_key *add_key(struct trust *trust, const struct digest *id) {
    for (uint32_t i = 0; i < trust->count; i++)
        if (digest_equal(&trust->keys[i].id, id)) return &trust->keys[i];
    if (trust->count == TRUST_KEYS_MAX) return NULL;
    struct trust_key *grown = realloc(trust->keys, (trust->count + 1) * sizeof *trust->keys);
    if (!grown) return NULL;
    trust->keys = grown;
    grown[trust->count] = (struct trust_key){.id = *id};
    return &trust->keys[trust->count++];
}

/* One entry of the directory; what is neither kind of file is not ours to judge. */
static enum status take_entry(struct trust *trust, int dir, const char *path, const char *file,
                              struct error *err) {
    const char *dot = strrchr(file, '.');
    if (!dot || file[0] == '.') return ST_OK;
    bool public = strcmp(dot, ".pub") == 0, revoked = strcmp(dot, ".revoked") == 0;
    if (!public && !revoked) return ST_OK;
    struct stat st;
    if (fstatat(dir, file, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return error_set_errno(err, ST_IO, "cannot read %s/%s", path, file);
    if (!S_ISREG(st.st_mode) || others_can_write(&st))
        return error_set(err, ST_DAMAGED, "%s/%s is not a file only its owner can write", path,
                         file);
    struct digest id = {0};
    struct sign_public key = {0};
    if (revoked) {
        if (!parse_id(file, (size_t)(dot - file), &id))
            return error_set(err, ST_MALFORMED, "%s/%s: the name is no key's id", path, file);
    } else {
        enum status status = sign_public_read(dir, file, &key, err);
        if (status != ST_OK) return error_wrap(err, "%s", path);
        id = sign_key_id(&key);
    }
    struct trust_key *entry = add_key(trust, &id);
    if (!entry) return error_set(err, ST_LIMIT, "%s: too many keys", path);
    if (revoked) {
        entry->revoked = true;
    } else {
        entry->key = key;
        entry->has_key = true;
        snprintf(entry->name, sizeof entry->name, "%.*s", (int)(dot - file), file);
    }
    return ST_OK;
}

static int by_name(const void *a, const void *b) {
    const struct trust_key *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order ? order : memcmp(x->id.bytes, y->id.bytes, sizeof x->id.bytes);
}

enum status trust_load(const char *path, struct trust *trust, struct error *err) {
    auto_fd int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) return ST_OK;
    if (fd < 0) return error_set_errno(err, ST_IO, "cannot open %s", path);
    struct stat st;
    if (fstat(fd, &st) < 0) return error_set_errno(err, ST_IO, "cannot read %s", path);
    if (others_can_write(&st))
        return error_set(err, ST_DAMAGED,
                         "the trust directory %s can be written by others: who may change it "
                         "decides what runs here",
                         path);
    DIR *dir = fdopendir(fd);
    if (!dir) return error_set_errno(err, ST_IO, "cannot read %s", path);
    int dir_fd = steal_fd(&fd); /* dir owns it now */
    enum status status = ST_OK;
    errno = 0;
    for (struct dirent *entry; status == ST_OK && (entry = readdir(dir));)
        status = take_entry(trust, dir_fd, path, entry->d_name, err);
    closedir(dir);
    if (status == ST_OK && trust->count)
        qsort(trust->keys, trust->count, sizeof *trust->keys, by_name);
    return status;
}

void trust_finish(struct trust *trust) {
    free(trust->keys);
    *trust = (struct trust){0};
}

const struct trust_key *trust_find(const struct trust *trust, const struct digest *id) {
    for (uint32_t i = 0; i < trust->count; i++)
        if (digest_equal(&trust->keys[i].id, id)) return &trust->keys[i];
    return NULL;
}

/* ---- changing it ------------------------------------------------------------------------- */

static enum status make_directory(const char *path, struct error *err) {
    auto_free char *copy = strdup(path);
    if (!copy) return error_set(err, ST_NO_MEMORY, "out of memory");
    for (char *at = copy + 1; *at; at++) {
        if (*at != '/') continue;
        *at = '\0';
        if (mkdir(copy, 0755) < 0 && errno != EEXIST)
            return error_set_errno(err, ST_IO, "cannot make %s", copy);
        *at = '/';
    }
    if (mkdir(copy, 0755) < 0 && errno != EEXIST)
        return error_set_errno(err, ST_IO, "cannot make %s", copy);
    return ST_OK;
}

static enum status file_in(const char *directory, const char *name, const char *suffix,
                           char **ret_path, struct error *err) {
    if (asprintf(ret_path, "%s/%s%s", directory, name, suffix) < 0) {
        *ret_path = NULL;
        return error_set(err, ST_NO_MEMORY, "out of memory");
    }
    return ST_OK;
}

enum status trust_add(const char *directory, const char *name, const struct sign_public *key,
                      struct error *err) {
    if (!trust_name_valid(name))
        return error_set(err, ST_USAGE, "'%s' cannot name a key: letters, digits and ._-@+",
                         name);
    struct trust trust = {0};
    struct digest id = sign_key_id(key);
    enum status status = make_directory(directory, err);
    if (status == ST_OK) status = trust_load(directory, &trust, err);
    const struct trust_key *known = trust_find(&trust, &id);
    bool revoked = known && known->revoked, there = known && known->has_key && !revoked;
    char hex[DIGEST_HEX_SIZE];
    digest_hex(&id, hex);
    if (status == ST_OK && revoked)
        status = error_set(err, ST_INCOMPATIBLE,
                           "the key %s was revoked; to trust it again remove %s/%s.revoked",
                           hex, directory, hex);
    trust_finish(&trust);
    if (status != ST_OK || there) return status;
    auto_free char *path = NULL;
    if ((status = file_in(directory, name, ".pub", &path, err)) != ST_OK) return status;
    return sign_public_write(path, key, err);
}

enum status trust_revoke(const char *directory, const struct digest *id, const char *reason,
                         struct error *err) {
    enum status status = make_directory(directory, err);
    if (status != ST_OK) return status;
    char hex[DIGEST_HEX_SIZE], when[32];
    digest_hex(id, hex);
    time_t now = time(NULL);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
    auto_buffer struct buffer text = {0};
    buffer_printf(&text, "revoked %s%s%s\n", when, reason ? ": " : "", reason ? reason : "");
    if ((status = buffer_status(&text, err)) != ST_OK) return status;
    auto_free char *path = NULL;
    if ((status = file_in(directory, hex, ".revoked", &path, err)) != ST_OK) return status;
    return file_publish(AT_FDCWD, path, text.bytes, text.size, 0644, err);
}
