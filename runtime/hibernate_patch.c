/*
 * Pages of a hibernated guest that differ from its snapshot in a few words: reference counts,
 * links of lists, a time. Kept as
 *
 *     u64 address; 64 bytes, a bit for each word of 8 bytes, lowest first; those words
 *
 * one page after the other by address, behind the file's runs. They are put over what the
 * snapshot has there, so a file that depends on none has no such pages.
 */
#include "runtime/snapshot.h"
#include "runtime/snapshot_pages.h"

#include <sys/mman.h>
#include <sys/uio.h>

#define WORDS ((unsigned)ABI_HOST_PAGE / 8)
/* A page of which more differs is kept as it is: it is half the file then, at most, and the
 * other half of the time. */
#define MAX_WORDS (WORDS / 2)
#define BATCH 64u

struct patch {
    uint64_t address;
    uint64_t bits[WORDS / 64];
    const uint8_t *words;
};

static uint64_t word_at(const uint8_t *page, unsigned word) {
    uint64_t value;
    memcpy(&value, page + (size_t)word * 8, 8);
    return value;
}

bool patch_add(struct buffer *b, uint64_t address, const uint8_t *page,
               const uint8_t *original) {
    uint64_t bits[WORDS / 64] = {0};
    unsigned count = 0;
    for (unsigned i = 0; i < WORDS; i++) {
        uint64_t differs = word_at(page, i) != word_at(original, i);
        bits[i / 64] |= differs << i % 64;
        count += (unsigned)differs;
    }
    if (count > MAX_WORDS) return false;
    buffer_put_u64(b, address);
    for (unsigned i = 0; i < countof(bits); i++) buffer_put_u64(b, bits[i]);
    for (unsigned i = 0; i < WORDS; i++)
        if (bits[i / 64] >> i % 64 & 1) buffer_put(b, page + (size_t)i * 8, 8);
    return true;
}

/* The next one; false at the end, and with reader.failed where it is damaged. */
static bool take(struct reader *r, struct patch *ret) {
    unsigned count = 0;
    if (!reader_left(r)) return false;
    ret->address = reader_u64(r);
    for (unsigned i = 0; i < countof(ret->bits); i++) {
        ret->bits[i] = reader_u64(r);
        count += (unsigned)__builtin_popcountll(ret->bits[i]);
    }
    ret->words = reader_bytes(r, (size_t)count * 8);
    if (count == 0 || count > MAX_WORDS) r->failed = true;
    return !r->failed;
}

/* That each lies in the guest, by address, and in none of the runs. */
static enum status check(const struct instance *i, const struct snapshot *s, struct reader r,
                         struct error *err) {
    struct patch p;
    uint64_t next = 0;
    uint32_t run = 0;
    while (take(&r, &p)) {
        const struct snapshot_run page = {.address = p.address, .size_bytes = ABI_HOST_PAGE};
        while (run < s->header.run_count &&
               s->runs[run].address + s->runs[run].size_bytes <= p.address)
            run++;
        if (p.address < next || p.address % ABI_HOST_PAGE ||
            !snapshot_run_fits(&s->header, p.address, ABI_HOST_PAGE) ||
            (run < s->header.run_count && s->runs[run].address <= p.address))
            return error_set(err, ST_DAMAGED, "damaged: a changed page that does not fit");
        enum status status = snapshot_check_run(i, &page, err);
        if (status != ST_OK) return status;
        next = p.address + ABI_HOST_PAGE;
    }
    if (r.failed) return error_set(err, ST_DAMAGED, "damaged: its changed pages");
    return ST_OK;
}

/* The pages are made present before they are written to, many in one call. */
static void make_present(struct reader r) {
    struct iovec list[BATCH];
    struct patch p;
    size_t count = 0;
    while (take(&r, &p)) {
        struct iovec *last = count ? &list[count - 1] : NULL;
        if (last && (uint64_t)last->iov_base + last->iov_len == p.address) {
            last->iov_len += ABI_HOST_PAGE;
            continue;
        }
        if (count == BATCH) {
            snapshot_populate(list, count, MADV_POPULATE_WRITE);
            count = 0;
        }
        list[count++] = (struct iovec){.iov_base = (void *)p.address, .iov_len = ABI_HOST_PAGE};
    }
    snapshot_populate(list, count, MADV_POPULATE_WRITE);
}

enum status patch_apply(const struct instance *i, const struct snapshot *s,
                        const uint8_t *bytes, size_t size, struct error *err) {
    struct reader r = reader_over(bytes, size);
    struct patch p;
    enum status status = check(i, s, r, err);
    if (status != ST_OK) return status;
    make_present(r);
    while (take(&r, &p)) {
        uint8_t *page = (uint8_t *)p.address;
        for (unsigned k = 0; k < countof(p.bits); k++)
            for (uint64_t bits = p.bits[k]; bits; bits &= bits - 1, p.words += 8)
                memcpy(page + (k * 64 + (unsigned)__builtin_ctzll(bits)) * 8, p.words, 8);
    }
    return ST_OK;
}
