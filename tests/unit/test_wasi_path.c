/*
 * The wall around a preopened directory: every way out that we know of, tried through every
 * function that takes a path; and what the functions answer beneath it.
 */
#include "tests/unit/wasi_fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>

static struct fixture fixture;

/* Entries of the outside directory, and the first bytes of its file: nothing may change them.
 */
static void expect_outside_untouched(void) {
    int count = 0;
    char text[16] = {0};
    DIR *dir = fdopendir(openat(fixture.outside_fd, ".", O_RDONLY | O_DIRECTORY));
    CHECK(dir);
    while (readdir(dir)) count++;
    closedir(dir);
    EXPECT(count == 4); /* ".", "..", secret, dir */
    int fd = openat(fixture.outside_fd, "secret", O_RDONLY);
    EXPECT(fd >= 0 && read(fd, text, sizeof text - 1) == 6 && strcmp(text, "secret") == 0);
    struct stat st;
    EXPECT(fstat(fd, &st) == 0 && st.st_nlink == 1 && st.st_mtim.tv_sec > 2);
    close(fd);
}

/* No function gets at this path: each answers EPERM, or what the comment says. */
static void expect_wall(const char *path) {
    struct fixture *f = &fixture;
    EXPECT_ERRNO(try_open(f, path, 0, WASI_RIGHT_FD_READ), WASI_EPERM);
    /* Nothing can be created under a name with a slash, which the kernel may see first. */
    enum wasi_errno e = try_open(f, path, WASI_OFLAG_CREAT, WASI_RIGHT_FD_WRITE);
    EXPECT(e == WASI_EPERM || (e == WASI_EISDIR && path[strlen(path) - 1] == '/'));
    EXPECT_ERRNO(try_open(f, path, WASI_OFLAG_TRUNC, WASI_RIGHT_FD_WRITE), WASI_EPERM);
    EXPECT_ERRNO(try_open(f, path, WASI_OFLAG_DIRECTORY, 0), WASI_EPERM);
    EXPECT_ERRNO(do_stat(f, path, 1), WASI_EPERM);
    EXPECT_ERRNO(do_utimes(f, path, 1), WASI_EPERM);
}

/* The same for functions that do not follow the last component. */
static void expect_wall_nofollow(const char *path) {
    struct fixture *f = &fixture;
    expect_wall(path);
    EXPECT_ERRNO(do_stat(f, path, 0), WASI_EPERM);
    EXPECT_ERRNO(do_utimes(f, path, 0), WASI_EPERM);
    EXPECT_ERRNO(do_mkdir(f, path), WASI_EPERM);
    EXPECT_ERRNO(do_rmdir(f, path), WASI_EPERM);
    EXPECT_ERRNO(do_unlink(f, path), WASI_EPERM);
    EXPECT_ERRNO(do_readlink(f, path, 64), WASI_EPERM);
    EXPECT_ERRNO(do_symlink(f, "x", path), WASI_EPERM);
    EXPECT_ERRNO(do_link(f, path, "stolen"), WASI_EPERM);
    EXPECT_ERRNO(do_link(f, "file", path), WASI_EPERM);
    EXPECT_ERRNO(do_rename(f, path, "stolen"), WASI_EPERM);
    EXPECT_ERRNO(do_rename(f, "file", path), WASI_EPERM);
}

static void test_escapes(void) {
    int root = fixture.root_fd;
    char absolute[128];
    write_file(root, "file", "file");
    CHECK(mkdirat(root, "a", 0700) == 0 && mkdirat(root, "a/b", 0700) == 0);
    snprintf(absolute, sizeof absolute, "%s/outside", fixture.directory);
    CHECK(symlinkat(absolute, root, "to_absolute") == 0);
    CHECK(symlinkat("../outside", root, "to_outside") == 0);
    CHECK(symlinkat("../outside/secret", root, "to_secret") == 0);
    CHECK(symlinkat("chain2", root, "chain1") == 0);
    CHECK(symlinkat("a/chain3", root, "chain2") == 0);
    CHECK(symlinkat("../../outside", root, "a/chain3") == 0);
    CHECK(symlinkat("..", root, "to_parent") == 0);
    CHECK(symlinkat("/", root, "to_slash") == 0);
    CHECK(symlinkat("/proc/self/root", root, "to_magic") == 0);

    expect_wall_nofollow("..");
    expect_wall_nofollow("../");
    expect_wall_nofollow("../outside/secret");
    expect_wall_nofollow("a/../../outside/secret");
    expect_wall_nofollow("a/../../x");
    expect_wall_nofollow("./a/b/../../../outside/secret");
    expect_wall_nofollow("/");
    expect_wall_nofollow("/etc/passwd");
    expect_wall_nofollow("//etc/passwd");
    expect_wall_nofollow("to_absolute/secret");
    expect_wall_nofollow("to_outside/secret");
    expect_wall_nofollow("to_outside/dir/.");
    expect_wall_nofollow("to_outside/..");
    expect_wall_nofollow("chain1/secret");
    expect_wall_nofollow("to_parent/outside/secret");
    expect_wall_nofollow("to_slash/etc/passwd");
    expect_wall_nofollow("to_magic/etc/passwd");
    expect_wall("to_secret");
    expect_wall("to_outside");
    expect_wall("to_absolute");
    expect_wall("to_slash");
    expect_wall("chain1");
    /* A slash makes the kernel follow what would not be followed: still not outside. */
    expect_wall("to_outside/");
    EXPECT_ERRNO(do_readlink(&fixture, "to_outside/", 64), WASI_EPERM);
    EXPECT_ERRNO(do_readlink(&fixture, "to_outside/secret/", 64), WASI_EPERM);
    EXPECT_ERRNO(do_link(&fixture, "to_outside/", "stolen"), WASI_EPERM);
    EXPECT_ERRNO(do_rmdir(&fixture, "to_outside/"), WASI_ENOTDIR);
    EXPECT_ERRNO(do_unlink(&fixture, "to_outside/"), WASI_ENOTDIR);
    EXPECT_ERRNO(do_rename(&fixture, "to_outside/", "stolen"), WASI_ENOTDIR);
    EXPECT_ERRNO(do_mkdir(&fixture, "to_outside/"), WASI_EEXIST);
    expect_outside_untouched();

    /* A hard link and a rename act on the symlink itself, which stays as harmless as it was. */
    EXPECT_ERRNO(do_link(&fixture, "to_secret", "hard"), WASI_OK);
    expect_wall("hard");
    EXPECT_ERRNO(do_rename(&fixture, "hard", "a/b/moved"), WASI_OK);
    EXPECT_ERRNO(try_open(&fixture, "a/b/moved", 0, WASI_RIGHT_FD_READ), WASI_ENOENT);
    EXPECT_ERRNO(do_unlink(&fixture, "a/b/moved"), WASI_OK);
    expect_outside_untouched();
}

/* A directory that was opened is a wall of its own, also when it is moved. */
static void test_wall_of_opened_directory(void) {
    struct fixture *f = &fixture;
    uint32_t dir = 0, fd = 0;
    EXPECT_ERRNO(
        do_open(f, ROOT, "a/b", 0, WASI_OFLAG_DIRECTORY, ALL & ~WASI_RIGHT_FD_WRITE, &dir),
        WASI_OK);
    EXPECT_ERRNO(do_open(f, dir, "../../file", 0, 0, WASI_RIGHT_FD_READ, &fd), WASI_EPERM);
    EXPECT_ERRNO(do_open(f, dir, "..", 0, 0, WASI_RIGHT_FD_READ, &fd), WASI_EPERM);
    EXPECT_ERRNO(do_rename(f, "a/b", "b"), WASI_OK);
    EXPECT_ERRNO(do_open(f, dir, "../file", 0, 0, WASI_RIGHT_FD_READ, &fd), WASI_EPERM);
    EXPECT_ERRNO(do_open(f, dir, ".", 0, 0, WASI_RIGHT_FD_READ, &fd), WASI_OK);
    EXPECT_ERRNO(wasi_fd_close(f->w, f->m, fd), WASI_OK);
    EXPECT_ERRNO(wasi_fd_close(f->w, f->m, dir), WASI_OK);
    EXPECT_ERRNO(do_rename(f, "b", "a/b"), WASI_OK);
}

static void test_symlinks(void) {
    struct fixture *f = &fixture;
    EXPECT_ERRNO(do_symlink(f, "/etc/passwd", "s"), WASI_EPERM);
    EXPECT_ERRNO(do_symlink(f, "", "s"), WASI_ENOENT);
    EXPECT_ERRNO(do_symlink(f, "loop", "loop"), WASI_OK);
    EXPECT_ERRNO(try_open(f, "loop", 0, 0), WASI_ELOOP);
    EXPECT_ERRNO(try_open(f, "loop/x", 0, 0), WASI_ELOOP);
    EXPECT_ERRNO(do_stat(f, "loop", 0), WASI_OK);
    EXPECT(f->m.base[DATA + 16] == WASI_FILETYPE_SYMBOLIC_LINK);
    EXPECT_ERRNO(do_symlink(f, "../file", "a/up"), WASI_OK);
    EXPECT_ERRNO(try_open(f, "a/up", 0, WASI_RIGHT_FD_READ), WASI_OK);
    EXPECT_ERRNO(do_symlink(f, "nothing", "dangling"), WASI_OK);
    EXPECT_ERRNO(try_open(f, "dangling", 0, 0), WASI_ENOENT);
    uint32_t fd = 0;
    EXPECT_ERRNO(do_open(f, ROOT, "a/up", 0, 0, WASI_RIGHT_FD_READ, &fd), WASI_ELOOP);
    EXPECT_ERRNO(do_readlink(f, "a/up", 64), WASI_OK);
    EXPECT(result32(f) == 7 && memcmp(f->m.base + DATA, "../file", 7) == 0);
    EXPECT_ERRNO(do_readlink(f, "a/up", 3), WASI_OK);
    EXPECT(result32(f) == 3);
    EXPECT_ERRNO(do_readlink(f, "a/up", 0), WASI_OK);
    EXPECT(result32(f) == 0);
    EXPECT_ERRNO(do_readlink(f, "file", 64), WASI_EINVAL);
    EXPECT_ERRNO(do_readlink(f, "a/b/..", 64), WASI_EINVAL);
    EXPECT_ERRNO(do_readlink(f, "file/", 64), WASI_ENOTDIR);
    EXPECT_ERRNO(do_readlink(f, "a/", 64), WASI_EINVAL);
    /* A symlink that climbs, but not out, is followed to its end. */
    EXPECT_ERRNO(do_symlink(f, "../a/b", "a/back"), WASI_OK);
    EXPECT_ERRNO(do_readlink(f, "a/back/", 64), WASI_EINVAL);
    EXPECT_ERRNO(do_mkdir(f, "a/back/new"), WASI_OK);
    EXPECT_ERRNO(do_rmdir(f, "a/b/new"), WASI_OK);
}

static void test_paths(void) {
    struct fixture *f = &fixture;
    uint64_t read = WASI_RIGHT_FD_READ;
    char longest[WASI_PATH_SIZE];
    EXPECT_ERRNO(try_open(f, "", 0, read), WASI_ENOENT);
    memcpy(f->m.base + PATH_A, "file\0x", 6);
    EXPECT_ERRNO(wasi_path_open(f->w, f->m, ROOT, 0, PATH_A, 6, 0, 0, 0, 0, RESULT),
                 WASI_EINVAL);
    EXPECT_ERRNO(wasi_path_open(f->w, f->m, ROOT, 0, PATH_A, 5, 0, 0, 0, 0, RESULT),
                 WASI_EINVAL);
    EXPECT_ERRNO(wasi_path_open(f->w, f->m, ROOT, 0, 0, 4096, 0, 0, 0, 0, RESULT),
                 WASI_ENAMETOOLONG);
    memset(longest, 'x', 300);
    longest[300] = 0;
    EXPECT_ERRNO(try_open(f, longest, 0, read), WASI_ENAMETOOLONG);
    EXPECT_ERRNO(try_open(f, "file/", 0, read), WASI_ENOTDIR);
    EXPECT_ERRNO(try_open(f, "a///", 0, read), WASI_OK);
    EXPECT_ERRNO(try_open(f, "a/.//b/../../a/b/../b", 0, read), WASI_OK);
    EXPECT_ERRNO(try_open(f, "a", 0, WASI_RIGHT_FD_WRITE), WASI_EISDIR);
    EXPECT_ERRNO(try_open(f, "file", WASI_OFLAG_DIRECTORY, 0), WASI_ENOTDIR);
    EXPECT_ERRNO(try_open(f, "file", WASI_OFLAG_CREAT | WASI_OFLAG_EXCL, 0), WASI_EEXIST);
    EXPECT_ERRNO(try_open(f, "d", WASI_OFLAG_CREAT | WASI_OFLAG_DIRECTORY, 0), WASI_EINVAL);
    EXPECT_ERRNO(try_open(f, "file", 16, 0), WASI_EINVAL);
    EXPECT_ERRNO(do_stat(f, "file", 2), WASI_EINVAL);

    EXPECT_ERRNO(do_mkdir(f, "new"), WASI_OK);
    EXPECT_ERRNO(do_mkdir(f, "new"), WASI_EEXIST);
    EXPECT_ERRNO(do_mkdir(f, "new/sub/"), WASI_OK);
    EXPECT_ERRNO(do_mkdir(f, "."), WASI_EEXIST);
    EXPECT_ERRNO(do_mkdir(f, "new/sub/.."), WASI_EEXIST);
    EXPECT_ERRNO(do_mkdir(f, "missing/x"), WASI_ENOENT);
    EXPECT_ERRNO(do_rmdir(f, "new"), WASI_ENOTEMPTY);
    EXPECT_ERRNO(do_rmdir(f, "new/sub/.."), WASI_ENOTEMPTY);
    EXPECT_ERRNO(do_rmdir(f, "new/."), WASI_EINVAL);
    EXPECT_ERRNO(do_rmdir(f, "."), WASI_EINVAL);
    EXPECT_ERRNO(do_rmdir(f, "file"), WASI_ENOTDIR);
    EXPECT_ERRNO(do_unlink(f, "new"), WASI_EISDIR);
    EXPECT_ERRNO(do_unlink(f, "new/."), WASI_EISDIR);
    EXPECT_ERRNO(do_unlink(f, "file/"), WASI_ENOTDIR);
    EXPECT_ERRNO(do_rename(f, "new", "new/sub/x"), WASI_EINVAL);
    EXPECT_ERRNO(do_rename(f, "new/.", "y"), WASI_EBUSY);
    EXPECT_ERRNO(do_rename(f, "file", "new/sub/.."), WASI_EBUSY);
    EXPECT_ERRNO(do_link(f, "new", "y"), WASI_EPERM);
    EXPECT_ERRNO(do_link(f, "new/", "y"), WASI_EPERM);
    EXPECT_ERRNO(do_link(f, "file", "file"), WASI_EEXIST);
    EXPECT_ERRNO(do_link(f, "file", "link/"), WASI_ENOENT);
    EXPECT_ERRNO(do_rmdir(f, "new///sub///"), WASI_OK);
    EXPECT_ERRNO(do_rmdir(f, "new/"), WASI_OK);
}

static void test_read_only(void) {
    struct fixture *f = &fixture;
    struct wasi *writable = f->w;
    uint32_t fd = 0;
    f->w = fixture_wasi(f, true);
    EXPECT_ERRNO(try_open(f, "file", 0, WASI_RIGHT_FD_WRITE), WASI_EROFS);
    EXPECT_ERRNO(try_open(f, "file", WASI_OFLAG_TRUNC, WASI_RIGHT_FD_READ), WASI_EROFS);
    EXPECT_ERRNO(try_open(f, "fresh", WASI_OFLAG_CREAT, WASI_RIGHT_FD_READ), WASI_EROFS);
    EXPECT_ERRNO(try_open(f, "file", WASI_OFLAG_CREAT, WASI_RIGHT_FD_READ), WASI_OK);
    EXPECT_ERRNO(try_open(f, "file", WASI_OFLAG_CREAT | WASI_OFLAG_EXCL, 0), WASI_EEXIST);
    EXPECT_ERRNO(do_mkdir(f, "fresh"), WASI_EROFS);
    EXPECT_ERRNO(do_rmdir(f, "a/b"), WASI_EROFS);
    EXPECT_ERRNO(do_unlink(f, "file"), WASI_EROFS);
    EXPECT_ERRNO(do_symlink(f, "x", "fresh"), WASI_EROFS);
    EXPECT_ERRNO(do_link(f, "file", "fresh"), WASI_EROFS);
    EXPECT_ERRNO(do_rename(f, "file", "fresh"), WASI_EROFS);
    EXPECT_ERRNO(do_utimes(f, "file", 0), WASI_EROFS);
    EXPECT_ERRNO(
        do_open(f, ROOT, "a", 0, WASI_OFLAG_DIRECTORY, ALL & ~WASI_RIGHT_FD_WRITE, &fd),
        WASI_OK);
    EXPECT_ERRNO(wasi_fd_filestat_set_times(f->w, f->m, fd, 0, 0, WASI_FST_MTIM), WASI_EROFS);
    uint32_t length = put_text(f, PATH_A, "fresh");
    EXPECT_ERRNO(wasi_path_create_directory(f->w, f->m, fd, PATH_A, length), WASI_EROFS);
    EXPECT_ERRNO(wasi_fd_close(f->w, f->m, fd), WASI_OK);
    EXPECT_ERRNO(do_open(f, ROOT, "file", 0, 0,
                         WASI_RIGHT_FD_READ | WASI_RIGHT_FD_FILESTAT_SET_TIMES, &fd),
                 WASI_OK);
    EXPECT_ERRNO(wasi_fd_filestat_set_times(f->w, f->m, fd, 0, 0, WASI_FST_MTIM), WASI_EROFS);
    EXPECT_ERRNO(do_read(f, fd, 4), WASI_OK);
    wasi_destroy(f->w);
    f->w = writable;
}

/* ---- a race ------------------------------------------------------------------------------ */

static atomic_bool race_over;

/* Exchanges a directory and a symlink to the outside as fast as it can. */
static void *swap(void *argument) {
    (void)argument;
    while (!atomic_load(&race_over))
        syscall(SYS_renameat2, fixture.root_fd, "swapped", fixture.root_fd, "to_outside", 2);
    return NULL;
}

static void test_race(void) {
    struct fixture *f = &fixture;
    struct timespec begin, now;
    pthread_t thread;
    long inside = 0, refused = 0, leaked = 0, strange = 0;
    CHECK(mkdirat(f->root_fd, "swapped", 0700) == 0);
    write_file(f->root_fd, "swapped/secret", "inside");
    CHECK(pthread_create(&thread, NULL, swap, NULL) == 0);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    do {
        uint32_t fd = 0;
        enum wasi_errno e = do_open(f, ROOT, "swapped/secret", 1, 0, WASI_RIGHT_FD_READ, &fd);
        if (e == WASI_OK) {
            if (do_read(f, fd, 6) == WASI_OK && memcmp(f->m.base + DATA, "inside", 6) == 0)
                inside++;
            else
                leaked++;
            (void)wasi_fd_close(f->w, f->m, fd);
        } else if (e == WASI_EPERM) {
            refused++;
        } else if (e != WASI_EAGAIN) {
            strange++;
        }
        (void)do_mkdir(f, "swapped/made");
        (void)do_rmdir(f, "swapped/made");
        (void)do_symlink(f, "x", "swapped/symlink");
        (void)do_unlink(f, "swapped/symlink");
        (void)do_link(f, "swapped/secret", "swapped/hard");
        (void)do_unlink(f, "swapped/hard");
        (void)do_rename(f, "swapped/dir", "swapped/taken");
        (void)do_utimes(f, "swapped/secret", 1);
        (void)try_open(f, "swapped/created", WASI_OFLAG_CREAT, WASI_RIGHT_FD_WRITE);
        (void)do_unlink(f, "swapped/created");
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((now.tv_sec - begin.tv_sec) * 1000 + (now.tv_nsec - begin.tv_nsec) / 1000000 <
             700);
    atomic_store(&race_over, true);
    pthread_join(thread, NULL);
    EXPECT(inside > 0 && refused > 0); /* both sides of the race were seen */
    EXPECT(leaked == 0 && strange == 0);
    expect_outside_untouched();
}

int main(void) {
    fixture_create(&fixture);
    test_escapes();
    test_wall_of_opened_directory();
    test_symlinks();
    test_paths();
    test_read_only();
    test_race();
    fixture_destroy(&fixture);
    return test_end();
}
