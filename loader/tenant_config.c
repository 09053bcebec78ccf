/*
 * struct tenant_config to the bytes of tenant_config.h and back. Encoder and decoder stand side
 * by side, field by field in the same order.
 */
#include "loader/tenant_config.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONFIG_MAGIC UINT64_C(0x33464e4f43544e54) /* "TNTCONF3" */
enum {
    DIR_READ_ONLY = 1,
    DIR_IMAGE = 2,
    DIR_MEMORY = 4,
    DIR_VOLUME = 8
};
enum {
    REQUESTS_PREFAULT = 1,
    REQUESTS_RESET = 2,
    REQUESTS_ENVIRONMENT = 4
};

static void put_string(struct buffer *b, const char *text) {
    size_t length = strlen(text);
    buffer_put_str(b, text, length);
    buffer_put_u8(b, 0);
}

void tenant_config_encode(const struct tenant_config *config, struct buffer *b) {
    buffer_put_u64(b, CONFIG_MAGIC);
    buffer_put_u32(b, (uint32_t)config->object_fd);
    buffer_put_u32(b, (uint32_t)config->profile_fd);
    buffer_put_u32(b, config->interface);
    buffer_put_u32(b, config->reuse);
    buffer_put_u64(b, config->max_memory_bytes);
    buffer_put_u64(b, config->max_stack_bytes);
    buffer_put_u64(b, config->timeout_ns);
    put_string(b, config->name);
    buffer_put_u32(b, config->invoke != NULL);
    put_string(b, config->invoke ? config->invoke : "");
    buffer_put_u32(b, config->argc);
    for (uint32_t i = 0; i < config->argc; i++) put_string(b, config->argv[i]);
    buffer_put_u32(b, config->envc);
    for (uint32_t i = 0; i < config->envc; i++) put_string(b, config->env[i]);
    buffer_put_u32(b, config->dir_count);
    for (uint32_t i = 0; i < config->dir_count; i++) {
        buffer_put_u32(b, (uint32_t)config->dirs[i].fd);
        buffer_put_u32(b, (config->dirs[i].read_only ? DIR_READ_ONLY : 0u) |
                              (config->dirs[i].image ? DIR_IMAGE : 0u) |
                              (config->dirs[i].memory ? DIR_MEMORY : 0u) |
                              (config->dirs[i].volume ? DIR_VOLUME : 0u));
        buffer_put_u64(b, config->dirs[i].size_bytes);
        buffer_put_u64(b, config->dirs[i].inodes);
        put_string(b, config->dirs[i].guest);
    }
    buffer_put_u32(b, config->max_files);
    buffer_put_u32(b, config->requests.socket);
    buffer_put_u32(b, (uint32_t)config->requests.listen_fd);
    buffer_put_u32(b, (uint32_t)config->requests.control_fd);
    buffer_put_u32(b, (uint32_t)config->requests.snapshot_fd);
    buffer_put_u32(b, (config->requests.prefault ? REQUESTS_PREFAULT : 0u) |
                          (config->requests.reset ? REQUESTS_RESET : 0u) |
                          (config->requests.environment_at_resume ? REQUESTS_ENVIRONMENT : 0u));
    buffer_put_u32(b, config->requests.env_count);
}

enum status tenant_config_file(const struct buffer *b, int *ret_fd, struct error *err) {
    auto_fd int fd = memfd_create("hutch-config", MFD_ALLOW_SEALING); /* inherited */
    if (fd < 0) return error_set_errno(err, ST_IO, "cannot make a memory file");
    for (size_t at = 0; at < b->size;) {
        ssize_t n = write(fd, b->bytes + at, b->size - at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return error_set_errno(err, ST_IO, "cannot write a memory file");
        at += (size_t)n;
    }
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
        return error_set_errno(err, ST_IO, "cannot seal a memory file");
    *ret_fd = steal_fd(&fd);
    return ST_OK;
}

enum status tenant_config_write(const struct tenant_config *config, int *ret_fd,
                                struct error *err) {
    auto_buffer struct buffer b = {0};
    tenant_config_encode(config, &b);
    enum status status = buffer_status(&b, err);
    return status == ST_OK ? tenant_config_file(&b, ret_fd, err) : status;
}

static const char *take_string(struct reader *r) {
    uint32_t length = reader_u32(r);
    if (r->failed || length >= reader_left(r)) {
        r->failed = true;
        return "";
    }
    const char *text = (const char *)reader_bytes(r, (size_t)length + 1);
    if (!text || memchr(text, 0, (size_t)length + 1) != text + length) {
        r->failed = true;
        return "";
    }
    return text;
}

static const char *const *take_strings(struct reader *r, struct arena *arena,
                                       uint32_t *ret_count) {
    uint32_t count = reader_u32(r);
    if (r->failed || count > reader_left(r)) {
        r->failed = true;
        return NULL;
    }
    const char **strings = arena_array(arena, count, sizeof *strings);
    if (!strings) {
        r->failed = true;
        return NULL;
    }
    for (uint32_t i = 0; i < count; i++) strings[i] = take_string(r);
    *ret_count = count;
    return strings;
}

static void take_config(struct reader *r, struct arena *arena, struct tenant_config *c) {
    if (reader_u64(r) != CONFIG_MAGIC) r->failed = true;
    c->object_fd = (int)reader_u32(r);
    c->profile_fd = (int)reader_u32(r);
    uint32_t interface = reader_u32(r);
    if (interface > TENANT_HTTP) r->failed = true;
    c->interface = (enum tenant_interface)interface;
    uint32_t reuse = reader_u32(r);
    if (reuse > TENANT_GOES_ON) r->failed = true;
    c->reuse = (enum tenant_reuse)reuse;
    c->max_memory_bytes = reader_u64(r);
    c->max_stack_bytes = reader_u64(r);
    c->timeout_ns = reader_u64(r);
    c->name = take_string(r);
    bool has_invoke = reader_u32(r) != 0;
    c->invoke = take_string(r);
    if (!has_invoke) c->invoke = NULL;
    c->argv = take_strings(r, arena, &c->argc);
    c->env = take_strings(r, arena, &c->envc);
    uint32_t count = reader_u32(r);
    if (r->failed || count > reader_left(r)) {
        r->failed = true;
        return;
    }
    struct tenant_dir *dirs = arena_array(arena, count, sizeof *dirs);
    if (!dirs) {
        r->failed = true;
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        dirs[i].fd = (int)reader_u32(r);
        uint32_t flags = reader_u32(r);
        dirs[i].read_only = flags & DIR_READ_ONLY;
        dirs[i].image = flags & DIR_IMAGE;
        dirs[i].memory = flags & DIR_MEMORY;
        dirs[i].volume = flags & DIR_VOLUME;
        dirs[i].size_bytes = reader_u64(r);
        dirs[i].inodes = reader_u64(r);
        dirs[i].guest = take_string(r);
    }
    c->dirs = dirs;
    c->dir_count = count;
    c->max_files = reader_u32(r);
    c->requests.socket = reader_u32(r);
    c->requests.listen_fd = (int)reader_u32(r);
    c->requests.control_fd = (int)reader_u32(r);
    c->requests.snapshot_fd = (int)reader_u32(r);
    uint32_t requests_flags = reader_u32(r);
    c->requests.prefault = requests_flags & REQUESTS_PREFAULT;
    c->requests.reset = requests_flags & REQUESTS_RESET;
    c->requests.environment_at_resume = requests_flags & REQUESTS_ENVIRONMENT;
    c->requests.env_count = reader_u32(r);
    if (c->requests.env_count > c->envc) r->failed = true;
    if (reader_left(r)) r->failed = true;
}

enum status tenant_config_read(int fd, struct arena *arena, struct tenant_config *ret_config,
                               struct error *err) {
    auto_fd int owned = fd;
    struct stat st;
    if (fstat(owned, &st) < 0 || st.st_size <= 0 || st.st_size > 1 << 26)
        return error_set(err, ST_DAMAGED, "there is no configuration in descriptor %d", fd);
    /* Read, not mapped: mostly a few hundred bytes. The strings lie there. */
    uint8_t *bytes = arena_alloc(arena, (size_t)st.st_size);
    if (!bytes) return error_set(err, ST_NO_MEMORY, "out of memory");
    ssize_t got = pread(owned, bytes, (size_t)st.st_size, 0);
    if (got < 0) return error_set_errno(err, ST_IO, "cannot read the configuration");
    if (got != st.st_size) return error_set(err, ST_DAMAGED, "a configuration is cut short");
    struct reader r = reader_over(bytes, (size_t)st.st_size);
    struct tenant_config config = {0};
    take_config(&r, arena, &config);
    if (r.failed) return error_set(err, ST_DAMAGED, "the configuration is damaged");
    *ret_config = config;
    return ST_OK;
}

/* ---- what a snapshot is bound to --------------------------------------------------------- */

static void put_line(struct buffer *b, const char *what, const char *text) {
    buffer_printf(b, "%s ", what);
    for (; *text; text++) {
        if (*text == '\n' || *text == '\\')
            buffer_printf(b, *text == '\n' ? "\\n" : "\\\\");
        else
            buffer_put_u8(b, (uint8_t)*text);
    }
    buffer_put_u8(b, '\n');
}

void tenant_config_text(const struct tenant_config *c, struct buffer *b) {
    for (uint32_t i = 0; i < c->argc; i++) put_line(b, "argument", c->argv[i]);
    bool bound = !c->requests.environment_at_resume;
    if (!bound) put_line(b, "environment", "at resume");
    for (uint32_t i = 0; i < c->envc - c->requests.env_count && bound; i++) {
        /* A value may be a secret, and this text ends up in files and logs. */
        size_t length = strcspn(c->env[i], "=");
        char name[256];
        snprintf(name, sizeof name, "%.*s (%08x)", length < 200 ? (int)length : 200, c->env[i],
                 ~crc32c(~UINT32_C(0), c->env[i], strlen(c->env[i])));
        put_line(b, "environment", name);
    }
    if (c->interface == TENANT_CGI)
        buffer_printf(b, TENANT_CGI_REQUESTS "\n");
    else
        buffer_printf(b, "request socket %u\n", c->requests.socket);
    buffer_put_u8(b, 0);
}
