/*
 * Files in memory: random calls side by side with a directory of the host, alone and over an
 * image; limits; what is open while it goes; the region saved, reset and put into another
 * program; records of its state that are damaged.
 */
#include "runtime/memfs.h"
#include "tests/unit/image_fixture.h"
#include "tests/unit/image_use.h"

static struct wasi *wasi_of(const struct wasi_preopen *preopens, uint32_t count) {
    struct wasi_config config = {
        .preopen_count = count, .preopens = preopens, .stdio = {-1, -1, -1}};
    struct wasi *w = NULL;
    struct error err = {0};
    enum status status = wasi_create(&config, &w, &err);
    if (status != ST_OK) printf("%s\n", err.message);
    CHECK(status == ST_OK);
    return w;
}

static struct wasi *in_memory(uint64_t size_bytes, uint64_t inodes) {
    struct wasi_preopen preopen = {.fd = -1,
                                   .guest_path = "/",
                                   .memory = true,
                                   .size_bytes = size_bytes,
                                   .inodes = inodes};
    return wasi_of(&preopen, 1);
}

static struct guest_memory memory_create(void) {
    uint8_t *bytes =
        mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(bytes != MAP_FAILED);
    return (struct guest_memory){.base = bytes, .size_bytes = MEMORY_SIZE};
}

/* memfs_check with what the program has open. */
static bool adds_up(const struct wasi *w) {
    uint32_t open[64], count = 0;
    struct error err = {0};
    for (uint32_t fd = 0; fd < w->capacity && count < countof(open); fd++)
        if (w->descriptors[fd].used && w->descriptors[fd].files)
            open[count++] = (uint32_t)w->descriptors[fd].node;
    if (memfs_check(w->files, open, count, &err) == ST_OK) return true;
    printf("%s\n", err.message);
    return false;
}

/* ---- side by side ------------------------------------------------------------------------ */

/* The same tree for both: a directory of the host and, in memory, an image of it. */
static void fill_tree(const struct image_tree *t) {
    tree_file(t, "f1", 5);
    tree_file(t, "size31", 31);
    tree_file(t, "size5k", 5000);
    tree_dir(t, "sub");
    tree_dir(t, "sub/d");
    tree_file(t, "sub/b", 4096);
    tree_file(t, "sub/size5k", 9000);
    tree_file(t, "sub/d/c", 100);
    tree_link(t, "size31", "link");
    tree_link(t, "sub", "dirlink");
    tree_link(t, "../size31", "sub/up");
    tree_link(t, "/etc", "sub/x y");
    tree_dir(t, "d");
    for (int i = 0; i < 150; i++) {
        char name[32];
        snprintf(name, sizeof name, "d/file-number-%d", i);
        tree_file(t, name, (size_t)i);
    }
}

enum side {
    SIDE_EMPTY, /* an empty directory in memory */
    SIDE_LAYER, /* over an image */
    SIDE_IMAGE  /* the image alone, beside a read-only directory */
};

static void side_by_side(uint64_t seed, enum side side, unsigned calls) {
    static const char *const words[] = {"", ", layer", ", image"};
    bool layered = side != SIDE_EMPTY;
    struct image_tree tree;
    struct error err = {0};
    tree_create(&tree);
    if (layered) fill_tree(&tree);
    struct wasi_preopen host = {
        .fd = dup(tree.fd), .guest_path = "/", .read_only = side == SIDE_IMAGE};
    struct wasi_preopen memory = {
        .fd = -1, .guest_path = "/", .memory = side != SIDE_IMAGE, .image = layered};
    struct erofs_summary summary;
    if (layered) CHECK(tree_write(&tree, false, &memory.fd, &summary, &err) == ST_OK);
    struct differ_side a = {.w = wasi_of(&host, 1), .m = memory_create()};
    struct differ_side b = {.w = wasi_of(&memory, 1), .m = memory_create()};
    struct differ d = {.state = seed * UINT64_C(0x9e3779b97f4a7c15) | 1};
    bool same = true;
    for (unsigned i = 0; i < calls && same; i++) {
        struct differ_call call = differ_choose(&d);
        differ_make(&a, &call);
        differ_make(&b, &call);
        /* An image says what a file system mounted read-only would; where that has a better
         * answer, a read-only directory of the host says EROFS at once. */
        bool refused = side == SIDE_IMAGE && load_u32(a.answer.bytes) == WASI_EROFS &&
                       load_u32(b.answer.bytes) != WASI_OK;
        same = differ_same(&a, &b) || refused;
        EXPECT(same);
        if (!same)
            printf("seed %llu%s, call %u: %s\n  host errno %u, %zu bytes; memory errno %u, %zu "
                   "bytes\n",
                   (unsigned long long)seed, words[side], i, d.text, load_u32(a.answer.bytes),
                   a.answer.size, load_u32(b.answer.bytes), b.answer.size);
        if (i % 64 == 0 && side != SIDE_IMAGE) {
            bool sound = adds_up(b.w);
            EXPECT(sound);
            same = same && sound;
            if (!sound) printf("seed %llu, call %u: %s\n", (unsigned long long)seed, i, d.text);
        }
    }
    buffer_finish(&a.answer);
    buffer_finish(&b.answer);
    wasi_destroy(a.w);
    wasi_destroy(b.w);
    munmap(a.m.base, MEMORY_SIZE);
    munmap(b.m.base, MEMORY_SIZE);
    tree_destroy(&tree);
}

/* ---- limits ------------------------------------------------------------------------------ */

/* A fixture whose program has these preopens instead; the guest memory is the fixture's. */
static void fixture_with(struct fixture *f, struct wasi *w) {
    fixture_create(f);
    wasi_destroy(f->w);
    f->w = w;
}

static uint64_t used_bytes(const struct fixture *f) {
    return memfs_header(f->w->files)->mounts[0].used_bytes;
}

/* Writes 1000 bytes at a time until it fails; how much went in. */
static uint64_t fill_up(struct fixture *f, uint32_t fd, enum wasi_errno *ret_e) {
    uint64_t total = 0;
    put_iovec(f, 0, DATA, 1000);
    memset(f->m.base + DATA, 'x', 1000);
    while ((*ret_e = wasi_fd_write(f->w, f->m, fd, IOVEC, 1, RESULT)) == WASI_OK)
        total += result32(f);
    return total;
}

static void test_limits(void) {
    struct fixture f;
    uint32_t fd = 0, other = 0;
    enum wasi_errno e;
    fixture_with(&f, in_memory(1 << 20, 0));
    uint64_t empty = used_bytes(&f);
    EXPECT_ERRNO(do_open(&f, ROOT, "full", 0, WASI_OFLAG_CREAT, ALL, &fd), WASI_OK);
    uint64_t total = fill_up(&f, fd, &e);
    EXPECT(e == WASI_ENOSPC && total > 1000000 && total < 1 << 20);
    EXPECT_ERRNO(try_open(&f, "more", WASI_OFLAG_CREAT, ALL), WASI_OK); /* a name still fits */
    EXPECT_ERRNO(do_open(&f, ROOT, "more", 0, 0, ALL, &other), WASI_OK);
    EXPECT_ERRNO(do_write(&f, other, "no room"), WASI_ENOSPC);
    EXPECT_ERRNO(wasi_fd_allocate(f.w, f.m, other, 0, 4096), WASI_ENOSPC);
    EXPECT_ERRNO(wasi_fd_allocate(f.w, f.m, other, 0, UINT64_C(1) << 60), WASI_ENOSPC);
    EXPECT_ERRNO(do_symlink(&f, "x", "link"), WASI_ENOSPC);
    EXPECT(adds_up(f.w));
    /* What is not written takes nothing. */
    EXPECT_ERRNO(wasi_fd_filestat_set_size(f.w, f.m, other, UINT64_C(1) << 62), WASI_OK);
    EXPECT_ERRNO(wasi_fd_filestat_set_size(f.w, f.m, other, 0), WASI_OK);
    /* Gone, but open: nothing comes back. Closed: everything. */
    EXPECT_ERRNO(do_unlink(&f, "full"), WASI_OK);
    EXPECT_ERRNO(do_write(&f, other, "no room"), WASI_ENOSPC);
    EXPECT_ERRNO(wasi_fd_seek(f.w, f.m, fd, 0, SEEK_SET, RESULT, WASI_PREVIEW1), WASI_OK);
    EXPECT(do_read(&f, fd, 1000) == WASI_OK && result32(&f) == 1000 && f.m.base[DATA] == 'x');
    EXPECT_ERRNO(wasi_fd_close(f.w, f.m, fd), WASI_OK);
    EXPECT_ERRNO(do_write(&f, other, "room"), WASI_OK);
    EXPECT_ERRNO(wasi_fd_close(f.w, f.m, other), WASI_OK);
    EXPECT_ERRNO(do_unlink(&f, "more"), WASI_OK);
    EXPECT(used_bytes(&f) == empty && adds_up(f.w));
    /* Again and again: nothing wears out. */
    for (int round = 0; round < 5; round++) {
        EXPECT_ERRNO(do_open(&f, ROOT, "full", 0, WASI_OFLAG_CREAT, ALL, &fd), WASI_OK);
        EXPECT(fill_up(&f, fd, &e) == total && e == WASI_ENOSPC);
        EXPECT_ERRNO(wasi_fd_close(f.w, f.m, fd), WASI_OK);
        EXPECT_ERRNO(do_unlink(&f, "full"), WASI_OK);
    }
    fixture_destroy(&f);

    fixture_with(&f, in_memory(1 << 20, 4)); /* one of them is the root */
    EXPECT_ERRNO(do_mkdir(&f, "a"), WASI_OK);
    EXPECT_ERRNO(do_mkdir(&f, "b"), WASI_OK);
    EXPECT_ERRNO(try_open(&f, "c", WASI_OFLAG_CREAT, ALL), WASI_OK);
    EXPECT_ERRNO(try_open(&f, "d", WASI_OFLAG_CREAT, ALL), WASI_ENOSPC);
    EXPECT_ERRNO(do_mkdir(&f, "d"), WASI_ENOSPC);
    EXPECT_ERRNO(do_link(&f, "c", "d"), WASI_OK);
    EXPECT_ERRNO(do_rmdir(&f, "a"), WASI_OK);
    EXPECT_ERRNO(do_mkdir(&f, "e"), WASI_OK);
    EXPECT(adds_up(f.w));
    fixture_destroy(&f);

    struct wasi_preopen large = {
        .fd = -1, .guest_path = "/", .memory = true, .size_bytes = UINT64_C(1) << 50};
    struct wasi_config config = {.preopen_count = 1, .preopens = &large, .stdio = {-1, -1, -1}};
    struct wasi *w = NULL;
    struct error err = {0};
    EXPECT(wasi_create(&config, &w, &err) == ST_LIMIT);
}

/* Many names, one directory: found, listed once each while others go, and all gone again. */
static void test_many(void) {
    struct fixture f;
    char name[16];
    fixture_with(&f, in_memory(UINT64_C(64) << 20, 0));
    uint64_t empty = used_bytes(&f);
    for (int i = 0; i < 20000; i++) {
        snprintf(name, sizeof name, "file-%d", i);
        CHECK(try_open(&f, name, WASI_OFLAG_CREAT, WASI_RIGHT_FD_WRITE) == WASI_OK);
    }
    EXPECT(adds_up(f.w));
    static uint8_t seen[20000];
    uint64_t cookie = 0;
    uint32_t used = 2000, twice = 0, missed = 0;
    while (used == 2000) {
        CHECK(wasi_fd_readdir(f.w, f.m, ROOT, DATA, 2000, cookie, RESULT) == WASI_OK);
        used = result32(&f);
        for (uint32_t at = 0; at + 24 <= used;) {
            const uint8_t *entry = f.m.base + DATA + at;
            uint32_t length = load_u32(entry + 16);
            if (at + 24 + length > used) break;
            snprintf(name, sizeof name, "%.*s", (int)length, (const char *)entry + 24);
            cookie = load_u64(entry);
            at += 24 + length;
            if (name[0] == '.') continue;
            int number = atoi(name + 5);
            twice += seen[number]++;
        }
        /* Every listing takes away the first that are left, and one that is far ahead. */
        for (int i = 0, left = 3; i < 20000 && left; i++) {
            if (seen[i] != 1) continue;
            seen[i] = 2;
            snprintf(name, sizeof name, "file-%d", i);
            left--;
            EXPECT_ERRNO(do_unlink(&f, name), WASI_OK);
        }
    }
    for (int i = 0; i < 20000; i++) missed += !seen[i];
    EXPECT(twice == 0 && missed == 0);
    for (int i = 0; i < 20000; i++) {
        snprintf(name, sizeof name, "file-%d", i);
        if (seen[i] == 1) CHECK(do_unlink(&f, name) == WASI_OK);
    }
    EXPECT(used_bytes(&f) == empty && adds_up(f.w));
    fixture_destroy(&f);
}

/* Names that are left so that none of their blocks can go: the region is full before the limit
 * is, and that is ENOSPC too. */
static void test_holes(void) {
    struct fixture f;
    char name[16];
    uint32_t fd = 0;
    enum wasi_errno e;
    const uint64_t limit = 16 << 20;
    fixture_with(&f, in_memory(limit, 0));
    uint64_t empty = used_bytes(&f);
    EXPECT_ERRNO(do_open(&f, ROOT, "file", 0, WASI_OFLAG_CREAT, ALL, &fd), WASI_OK);
    int count = 0;
    for (e = WASI_OK; e == WASI_OK; count += e == WASI_OK) {
        snprintf(name, sizeof name, "%d", count);
        e = do_link(&f, "file", name);
    }
    EXPECT(e == WASI_ENOSPC && count > 200000);
    for (int i = 0; i < count; i++) {
        snprintf(name, sizeof name, "%d", i);
        if (i % 63) CHECK(do_unlink(&f, name) == WASI_OK);
    }
    (void)fill_up(&f, fd, &e);
    EXPECT(e == WASI_ENOSPC && used_bytes(&f) < limit / 2 && adds_up(f.w));
    EXPECT(wasi_files_region(f.w).used_bytes <= f.w->files->capacity_bytes);
    EXPECT_ERRNO(do_mkdir(&f, "directory"), WASI_OK); /* there is room among the small ones */
    EXPECT_ERRNO(do_rmdir(&f, "directory"), WASI_OK);
    for (int i = 0; i < count; i += 63) {
        snprintf(name, sizeof name, "%d", i);
        CHECK(do_unlink(&f, name) == WASI_OK);
    }
    EXPECT_ERRNO(do_unlink(&f, "file"), WASI_OK);
    EXPECT_ERRNO(wasi_fd_close(f.w, f.m, fd), WASI_OK);
    EXPECT(used_bytes(&f) == empty && adds_up(f.w));
    fixture_destroy(&f);
}

/* ---- saved and restored ------------------------------------------------------------------ */

/* The pages of the region and the record. */
struct saved {
    struct buffer pages, record;
};

static void save(const struct wasi *w, struct saved *to) {
    struct error err = {0};
    struct wasi_region region = wasi_files_region(w);
    buffer_finish(&to->pages);
    buffer_finish(&to->record);
    buffer_put(&to->pages, region.base, region.used_bytes);
    EXPECT(wasi_state_save(w, &to->record, &err) == ST_OK);
}

static enum status restore(struct wasi *w, const struct saved *from, struct error *err) {
    enum status status = wasi_files_resize(w, from->pages.size, err);
    if (status != ST_OK) return status;
    memcpy(wasi_files_region(w).base, from->pages.bytes, from->pages.size);
    return wasi_state_restore(w, from->record.bytes, from->record.size, false, err);
}

/* A tmpfs and a writable image of the tree. */
static struct wasi *two_mounts(const struct image_tree *tree) {
    struct error err = {0};
    struct erofs_summary summary;
    struct wasi_preopen preopens[2] = {
        {.fd = -1, .guest_path = "/tmp", .memory = true, .size_bytes = 1 << 20},
        {.guest_path = "/app", .memory = true, .image = true, .size_bytes = 1 << 20}};
    CHECK(tree_write(tree, false, &preopens[1].fd, &summary, &err) == ST_OK);
    return wasi_of(preopens, 2);
}

static bool content_is(struct fixture *f, uint32_t directory, const char *path,
                       const char *text) {
    uint32_t fd = 0;
    if (do_open(f, directory, path, 0, 0, WASI_RIGHT_FD_READ, &fd) != WASI_OK) return false;
    bool same = do_read(f, fd, 200) == WASI_OK && result32(f) == strlen(text) &&
                memcmp(f->m.base + DATA, text, strlen(text)) == 0;
    return wasi_fd_close(f->w, f->m, fd) == WASI_OK && same;
}

static void write_text(struct fixture *f, uint32_t directory, const char *path,
                       const char *text) {
    uint32_t fd = 0;
    EXPECT_ERRNO(do_open(f, directory, path, 0, WASI_OFLAG_CREAT | WASI_OFLAG_TRUNC, ALL, &fd),
                 WASI_OK);
    EXPECT_ERRNO(do_write(f, fd, text), WASI_OK);
    EXPECT_ERRNO(wasi_fd_close(f->w, f->m, fd), WASI_OK);
}

#define TMP ROOT
#define APP (ROOT + 1)

static void test_saved(void) {
    struct image_tree tree;
    struct fixture f;
    struct saved saved = {0};
    struct error err = {0};
    uint32_t open = 0, gone = 0, fd = 0;
    tree_create(&tree);
    fill_tree(&tree);
    fixture_with(&f, two_mounts(&tree));
    write_text(&f, TMP, "kept", "kept");
    write_text(&f, APP, "sub/new", "new");
    EXPECT_ERRNO(do_open(&f, TMP, "gone", 0, WASI_OFLAG_CREAT, ALL, &gone), WASI_OK);
    EXPECT_ERRNO(do_write(&f, gone, "still here"), WASI_OK);
    EXPECT_ERRNO(do_open(&f, TMP, "kept", 0, 0, ALL, &open), WASI_OK);
    EXPECT(do_read(&f, open, 2) == WASI_OK);
    EXPECT_ERRNO(do_unlink(&f, "gone"), WASI_OK);
    EXPECT_ERRNO(do_open(&f, APP, "size31", 0, 0, WASI_RIGHT_FD_READ | WASI_RIGHT_FD_SEEK, &fd),
                 WASI_OK);
    save(f.w, &saved);

    /* Changed in every way, and back. */
    for (int round = 0; round < 3; round++) {
        write_text(&f, TMP, "kept", "changed");
        write_text(&f, TMP, "residue", "residue");
        write_text(&f, APP, "size31", "changed");
        EXPECT_ERRNO(
            wasi_path_unlink_file(f.w, f.m, APP, PATH_A, put_text(&f, PATH_A, "sub/size5k")),
            WASI_OK);
        for (int i = 0; i < 100; i++) {
            char name[16];
            snprintf(name, sizeof name, "f%d", i);
            write_text(&f, TMP, name, "many");
        }
        EXPECT_ERRNO(wasi_fd_close(f.w, f.m, gone), WASI_OK);
        EXPECT_ERRNO(wasi_fd_close(f.w, f.m, ROOT), WASI_OK);
        EXPECT(restore(f.w, &saved, &err) == ST_OK);
        EXPECT(adds_up(f.w));
        struct wasi_region region = wasi_files_region(f.w);
        EXPECT(region.used_bytes == saved.pages.size &&
               memcmp(region.base, saved.pages.bytes, saved.pages.size) == 0);
        bool zero = true;
        for (uint64_t i = region.used_bytes; i < f.w->files->mapped_bytes; i++)
            zero = zero && region.base[i] == 0;
        EXPECT(zero);
        EXPECT(content_is(&f, TMP, "kept", "kept") && content_is(&f, APP, "sub/new", "new"));
        EXPECT_ERRNO(try_open(&f, "residue", 0, WASI_RIGHT_FD_READ), WASI_ENOENT);
        EXPECT(do_read(&f, open, 9) == WASI_OK && result32(&f) == 2 &&
               memcmp(f.m.base + DATA, "pt", 2) == 0);
        EXPECT_ERRNO(wasi_fd_seek(f.w, f.m, gone, 0, SEEK_SET, RESULT, WASI_PREVIEW1), WASI_OK);
        EXPECT(do_read(&f, gone, 90) == WASI_OK && result32(&f) == 10);
    }

    /* In another program, whose region lies elsewhere while the first one lives. */
    struct fixture g;
    fixture_with(&g, two_mounts(&tree));
    EXPECT(wasi_files_region(g.w).base != wasi_files_region(f.w).base);
    EXPECT(restore(g.w, &saved, &err) == ST_OK && adds_up(g.w));
    EXPECT(content_is(&g, TMP, "kept", "kept") && content_is(&g, APP, "sub/new", "new"));
    EXPECT(do_read(&g, open, 9) == WASI_OK && result32(&g) == 2);
    EXPECT_ERRNO(wasi_fd_close(g.w, g.m, gone), WASI_OK);
    EXPECT(adds_up(g.w));
    fixture_destroy(&g);

    /* In one with other limits, another image, other directories. */
    struct wasi_preopen other = {
        .fd = -1, .guest_path = "/tmp", .memory = true, .size_bytes = 1 << 20};
    struct wasi *w = wasi_of(&other, 1);
    EXPECT(restore(w, &saved, &err) == ST_INCOMPATIBLE);
    wasi_destroy(w);
    tree_file(&tree, "one-more", 1);
    w = two_mounts(&tree);
    EXPECT(restore(w, &saved, &err) == ST_INCOMPATIBLE && strstr(err.message, "image"));
    wasi_destroy(w);
    w = in_memory(1 << 20, 0);
    EXPECT(wasi_files_resize(w, UINT64_C(1) << 40, &err) == ST_LIMIT);
    EXPECT(wasi_files_resize(w, 4097, &err) == ST_INCOMPATIBLE);
    wasi_destroy(w);

    /* Records of any bytes: refused, or a program that works. */
    for (size_t at = 0; at < saved.record.size; at++) {
        for (unsigned bit = 0; bit < 8; bit += 3) {
            saved.record.bytes[at] ^= (uint8_t)(1u << bit);
            if (restore(f.w, &saved, &err) == ST_OK)
                for (uint32_t i = 0; i < 12; i++) {
                    (void)wasi_fd_filestat_get(f.w, f.m, i, DATA, WASI_PREVIEW1);
                    (void)wasi_fd_readdir(f.w, f.m, i, DATA, 500, 0, RESULT);
                    (void)do_read(&f, i, 40);
                    (void)wasi_fd_close(f.w, f.m, i);
                }
            saved.record.bytes[at] ^= (uint8_t)(1u << bit);
        }
        size_t size = saved.record.size;
        saved.record.size = at;
        EXPECT(restore(f.w, &saved, &err) == ST_DAMAGED);
        saved.record.size = size;
    }
    /* The last descriptor as a second one of the file before it, which was opened once. */
    uint8_t *last = saved.record.bytes + saved.record.size - 48, was[48];
    memcpy(was, last, 48);
    memcpy(last + 4, last - 48 + 4, 44);
    EXPECT(restore(f.w, &saved, &err) == ST_DAMAGED && strstr(err.message, "another"));
    memcpy(last, was, 48);
    EXPECT(restore(f.w, &saved, &err) == ST_OK && adds_up(f.w));
    buffer_finish(&saved.pages);
    buffer_finish(&saved.record);
    fixture_destroy(&f);
    tree_destroy(&tree);
}

/* What cannot be saved says so. */
static void test_unsaved(void) {
    struct fixture f;
    struct error err = {0};
    struct buffer record = {0};
    uint32_t fd = 0;
    fixture_create(&f);
    EXPECT(wasi_state_save(f.w, &record, &err) == ST_OK);
    EXPECT_ERRNO(wasi_fd_close(f.w, f.m, ROOT), WASI_OK);
    EXPECT(wasi_state_restore(f.w, record.bytes, record.size, true, &err) == ST_OK);
    EXPECT_ERRNO(do_open(&f, ROOT, "file", 0, WASI_OFLAG_CREAT, ALL, &fd), WASI_OK);
    EXPECT(wasi_state_save(f.w, &record, &err) == ST_UNSUPPORTED &&
           strstr(err.message, "descriptor 4 is an open file of a host directory"));
    buffer_finish(&record);
    fixture_destroy(&f);
}

/* ---- a damaged image --------------------------------------------------------------------- */

/* Every byte of a small image changed, every cut: what a guest does with it stays in bounds. */
static void test_damaged(void) {
    struct image_tree tree;
    tree_create(&tree);
    tree_file(&tree, "f1", 5000);
    tree_dir(&tree, "a");
    tree_dir(&tree, "sub");
    tree_file(&tree, "a/b", 10);
    tree_link(&tree, "f1", "link");
    struct image_copy c = tree_image(&tree);
    unsigned taken = 0, tried = 0;
    for (size_t at = 1024; at < c.size && at < 5120; at++) {
        uint8_t was = c.bytes[at];
        c.bytes[at] = (uint8_t)(at % 3 ? was ^ 1u << at % 8 : 0xff);
        taken += image_use(c.bytes, c.size, 24);
        c.bytes[at] = was;
        tried++;
    }
    EXPECT(tried > 4000 && taken > 0 && taken < tried);
    for (size_t cut = 1; cut < c.size; cut += cut < 2048 ? 61 : 512)
        EXPECT(!image_use(c.bytes, cut, 8));
    EXPECT(image_use(c.bytes, c.size, 200));
    copy_destroy(&c);
    tree_destroy(&tree);
}

int main(int argc, char **argv) {
    uint64_t seeds = argc > 1 ? strtoull(argv[1], NULL, 0) : 16;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        side_by_side(seed, SIDE_EMPTY, 3000);
        side_by_side(seed, SIDE_LAYER, 3000);
        side_by_side(seed, SIDE_IMAGE, 3000);
    }
    test_limits();
    test_many();
    test_holes();
    test_saved();
    test_unsaved();
    test_damaged();
    return test_end();
}
