/*
 * Counters: one small file, mapped shared, added to without locks. They may lose counts in a
 * power cut, and the table of hits an entry is lossy by design (the colder of two entries in
 * one place goes); nothing depends on them. All of the file is allocated when it is made, so
 * that a full disk cannot end a process that counts.
 */
#include "cache/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define COUNTERS_MAGIC UINT64_C(0x31746e63686b7568) /* "hukhcnt1" */
#define SLOTS 8192u
#define WAYS 4u

struct slot {
    _Atomic uint64_t entry; /* the first 8 bytes of its digest */
    _Atomic uint64_t hits;
};

struct counters {
    uint64_t magic, slots;
    _Atomic uint64_t totals[COUNT_COUNT];
    uint64_t reserved[64 - 2 - COUNT_COUNT];
    struct slot table[SLOTS];
};

static bool map_file(struct cache *c) {
    auto_fd int fd = openat(c->dir, CACHE_COUNTERS, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
        st.st_size != sizeof(struct counters))
        return false;
    struct counters *mapped =
        mmap(NULL, sizeof *mapped, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED) return false;
    if (mapped->magic != COUNTERS_MAGIC || mapped->slots != SLOTS) {
        munmap(mapped, sizeof *mapped);
        return false;
    }
    c->counters = mapped;
    return true;
}

/* Made under a name of its own and linked into place: others see it whole, and of several that
 * make one at once the first one's counts. One that cannot be used is in the way. */
static void make_file(struct cache *c) {
    char name[64];
    snprintf(name, sizeof name, "tmp/counters.%ld", (long)getpid());
    auto_fd int tmp = -1;
    struct error ignored = {0};
    if (cache_subdir(c, "tmp", &tmp, &ignored) != ST_OK) return;
    unlinkat(c->dir, name, 0);
    auto_fd int fd = openat(c->dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return;
    const uint64_t head[] = {COUNTERS_MAGIC, SLOTS};
    if (posix_fallocate(fd, 0, sizeof(struct counters)) == 0 &&
        pwrite(fd, head, sizeof head, 0) == sizeof head &&
        linkat(c->dir, name, c->dir, CACHE_COUNTERS, 0) < 0 && errno == EEXIST && !map_file(c))
        renameat(c->dir, name, c->dir, CACHE_COUNTERS);
    unlinkat(c->dir, name, 0);
}

void counters_open(struct cache *c) {
    if (map_file(c) || c->read_only) return;
    make_file(c);
    if (!c->counters && !map_file(c)) return; /* then nothing is counted */
}

void counters_close(struct cache *c) {
    if (c->counters) munmap(c->counters, sizeof *c->counters);
    c->counters = NULL;
}

void count(struct cache *c, enum counter which, uint64_t n) {
    if (c->counters)
        atomic_fetch_add_explicit(&c->counters->totals[which], n, memory_order_relaxed);
}

uint64_t counter_value(const struct cache *c, enum counter which) {
    return c->counters ? atomic_load(&c->counters->totals[which]) : 0;
}

static uint64_t short_name(const struct digest *digest) {
    uint64_t name;
    memcpy(&name, digest->bytes, sizeof name);
    return name ? name : 1;
}

void count_hit(struct cache *c, const struct digest *digest) {
    count(c, COUNT_HITS, 1);
    if (!c->counters) return;
    uint64_t name = short_name(digest);
    struct slot *set = &c->counters->table[name % (SLOTS / WAYS) * WAYS], *least = set;
    for (unsigned i = 0; i < WAYS; i++) {
        if (atomic_load(&set[i].entry) == name) {
            atomic_fetch_add(&set[i].hits, 1);
            return;
        }
        if (atomic_load(&set[i].hits) < atomic_load(&least->hits)) least = &set[i];
    }
    atomic_store(&least->hits, 1);
    atomic_store(&least->entry, name);
}

uint64_t hits_of(const struct cache *c, const struct digest *digest) {
    if (!c->counters) return 0;
    uint64_t name = short_name(digest);
    struct slot *set = &c->counters->table[name % (SLOTS / WAYS) * WAYS];
    for (unsigned i = 0; i < WAYS; i++)
        if (atomic_load(&set[i].entry) == name) return atomic_load(&set[i].hits);
    return 0;
}

/* ---- statistics -------------------------------------------------------------------------- */

static enum status read_totals(struct cache *c, void *context) {
    struct cache_stats *s = context;
    struct reader body;
    enum status status = index_get(c, DB_META, "totals", 6, &body);
    if (status != ST_OK) return ST_DAMAGED;
    s->entries = reader_u64(&body);
    s->bytes = reader_u64(&body);
    MDB_stat names, pins;
    if (body.failed || mdb_stat(c->index.txn, c->index.dbs[DB_NAMES], &names) != 0 ||
        mdb_stat(c->index.txn, c->index.dbs[DB_PINS], &pins) != 0)
        return ST_DAMAGED;
    s->names = names.ms_entries;
    s->pins = pins.ms_entries;
    return ST_OK;
}

enum status cache_statistics(struct cache *c, struct cache_stats *ret, struct error *err) {
    struct cache_stats s = {0};
    enum status status = index_read(c, read_totals, &s, err);
    if (status != ST_OK) return status;
    s.hits = counter_value(c, COUNT_HITS);
    s.misses = counter_value(c, COUNT_MISSES);
    s.puts = counter_value(c, COUNT_PUTS);
    s.put_bytes = counter_value(c, COUNT_PUT_BYTES);
    s.evicted = counter_value(c, COUNT_EVICTED);
    s.evicted_bytes = counter_value(c, COUNT_EVICTED_BYTES);
    s.quarantined = counter_value(c, COUNT_QUARANTINED);
    s.rebuilds = counter_value(c, COUNT_REBUILDS);
    s.waits = counter_value(c, COUNT_WAITS);
    s.max_bytes = c->max_bytes;
    s.min_free_bytes = c->min_free_bytes;
    struct stat st;
    if (fstatat(c->dir, CACHE_INDEX "/data.mdb", &st, AT_SYMLINK_NOFOLLOW) == 0)
        s.index_bytes = (uint64_t)st.st_blocks * 512;
    struct statvfs fs;
    if (fstatvfs(c->objects, &fs) == 0) s.free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    *ret = s;
    return ST_OK;
}
