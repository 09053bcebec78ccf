/*
 * Files whose digest is remembered: only where they cannot change unseen, and no longer than
 * they stay as they were.
 */
#include "cache/cache.h"
#include "tests/unit/cache_fixture.h"

#include <sys/mman.h>

static const char before[] = "what the file says", after[] = "What the file says";

static int open_file(const char *name, int flags) {
    char path[256];
    fixture_path(name, path, sizeof path);
    int fd = open(path, flags | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    return fd;
}

static void make_file(const char *name) {
    int fd = open_file(name, O_CREAT | O_TRUNC | O_WRONLY);
    EXPECT(write(fd, before, sizeof before) == sizeof before);
    close(fd);
}

static bool known(struct cache *c, const char *name) {
    struct digest digest, want = digest_of(before, sizeof before);
    int fd = open_file(name, O_RDONLY);
    bool is = cache_file_known(c, fd, &digest);
    if (is) EXPECT(digest_equal(&digest, &want));
    close(fd);
    return is;
}

/* Reads and remembers it, where that may be. */
static bool remember(struct cache *c, const char *name) {
    struct stat st;
    int fd = open_file(name, O_RDONLY);
    bool steady = cache_file_steady(fd, &st);
    struct digest digest = digest_of(before, sizeof before);
    if (steady) cache_file_remember(c, fd, &st, &digest);
    close(fd);
    return steady;
}

static void test_change(struct cache *c) {
    /* the same size, the old mtime put back: ctime tells */
    EXPECT(remember(c, "file-a") && known(c, "file-a"));
    struct stat st;
    int fd = open_file("file-a", O_RDWR);
    EXPECT(fstat(fd, &st) == 0 && pwrite(fd, after, sizeof after, 0) == sizeof after);
    const struct timespec times[2] = {st.st_atim, st.st_mtim};
    EXPECT(futimens(fd, times) == 0);
    close(fd);
    EXPECT(!known(c, "file-a"));
    /* a store through a mapping */
    EXPECT(remember(c, "file-b") && known(c, "file-b"));
    fd = open_file("file-b", O_RDWR);
    char *mapped = mmap(NULL, sizeof before, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    CHECK(mapped != MAP_FAILED);
    EXPECT(known(c, "file-b"));
    mapped[0] = 'W';
    EXPECT(!known(c, "file-b"));
    munmap(mapped, sizeof before);
    /* another file in its place */
    EXPECT(remember(c, "file-c") && known(c, "file-c"));
    make_file("file-d");
    char from[256], to[256];
    fixture_path("file-d", from, sizeof from);
    fixture_path("file-c", to, sizeof to);
    EXPECT(rename(from, to) == 0 && !known(c, "file-c"));
    /* changed while it was read */
    fd = open_file("file-e", O_RDWR);
    EXPECT(fstat(fd, &st) == 0 && write(fd, after, sizeof after) == sizeof after);
    struct digest digest = digest_of(before, sizeof before);
    cache_file_remember(c, fd, &st, &digest);
    close(fd);
    EXPECT(!known(c, "file-e"));
}

/* While anybody could write to it, it is not remembered. */
static void test_writers(struct cache *c) {
    int fd = open_file("file-f", O_RDWR);
    EXPECT(!remember(c, "file-f"));
    char *mapped = mmap(NULL, sizeof before, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    CHECK(mapped != MAP_FAILED);
    EXPECT(!remember(c, "file-f"));
    munmap(mapped, sizeof before);
    EXPECT(remember(c, "file-f") && known(c, "file-f"));
}

/* Each byte of the table in turn. */
static void test_damage(struct cache *c) {
    EXPECT(remember(c, "file-g") && known(c, "file-g"));
    char path[300];
    snprintf(path, sizeof path, "%s/files", cache_path(c));
    int fd = open(path, O_RDWR | O_CLOEXEC);
    struct stat st;
    CHECK(fd >= 0 && fstat(fd, &st) == 0);
    unsigned missed = 0, bytes = 0;
    for (off_t at = 0; at < st.st_size; at++) {
        char byte, wrong;
        CHECK(pread(fd, &byte, 1, at) == 1);
        wrong = (char)(byte ^ 0x10);
        CHECK(pwrite(fd, &wrong, 1, at) == 1);
        missed += !known(c, "file-g");
        bytes++;
        CHECK(pwrite(fd, &byte, 1, at) == 1);
    }
    EXPECT(missed == 128 && bytes >= 128); /* those of its slot */
    EXPECT(known(c, "file-g"));
    EXPECT(ftruncate(fd, st.st_size / 2) == 0 && ftruncate(fd, 100) == 0);
    EXPECT(!known(c, "file-g"));
    EXPECT(remember(c, "file-g") && known(c, "file-g"));
    close(fd);
}

int main(void) {
    fixture_begin();
    struct cache *c = fixture_open(NULL);
    static const char *const names[] = {"file-a", "file-b", "file-c", "file-e",
                                        "file-f", "file-g", "file-h"};
    for (size_t i = 0; i < countof(names); i++) make_file(names[i]);
    EXPECT(!remember(c, "file-a") && !known(c, "file-a")); /* too young */
    sleep(2);
    usleep(50000);
    if (remember(c, "file-h")) {
        test_change(c);
        test_writers(c);
        test_damage(c);
    } else {
        printf("this file system is not believed: only the refusal was tested\n");
    }
    cache_close(c);
    fixture_end();
    return test_end();
}
