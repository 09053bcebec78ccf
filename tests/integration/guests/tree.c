/*
 * Looks at directory trees: for test_images.py and the bench of images.
 *
 *     tree list DIR          every name with type, size and a sum of its data, in no order
 *     tree quiet FILE...     writes "begin", opens and reads every file, writes "end"
 *     tree hold FILE         reads a file, writes "held", waits for the end of its input
 *     tree write FILE TEXT   and read FILE: one line
 *     tree pair A B TEXT     opens B, writes A, reads B, unlinks A: one line, with B's links
 *     tree change DIR        a bit of everything, for a writable directory
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char bytes[1 << 16];

static uint32_t sum_of(const char *path, long *ret_size) {
    uint32_t sum = 1;
    int fd = open(path, O_RDONLY);
    if (fd < 0) {
        perror(path);
        exit(1);
    }
    *ret_size = 0;
    for (ssize_t n; (n = read(fd, bytes, sizeof bytes)) > 0; *ret_size += n)
        for (ssize_t i = 0; i < n; i++) sum = sum * 31 + (unsigned char)bytes[i];
    close(fd);
    return sum;
}

static void list(const char *directory) {
    char path[4096], target[4096];
    DIR *d = opendir(directory);
    if (!d) {
        perror(directory);
        exit(1);
    }
    for (struct dirent *e; (e = readdir(d));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        struct stat st;
        long size = 0;
        snprintf(path, sizeof path, "%s/%s", directory, e->d_name);
        if (lstat(path, &st)) {
            perror(path);
            exit(1);
        }
        if (S_ISDIR(st.st_mode)) {
            printf("%s/\n", path);
            list(path);
        } else if (S_ISLNK(st.st_mode)) {
            ssize_t n = readlink(path, target, sizeof target);
            printf("%s -> %.*s\n", path, (int)(n < 0 ? 0 : n), target);
        } else {
            uint32_t sum = sum_of(path, &size);
            printf("%s %lld %ld %08x\n", path, (long long)st.st_size, size, sum);
        }
    }
    closedir(d);
}

static void change(const char *directory) {
    char a[4096], b[4096];
    if (chdir(directory)) exit(1);
    if (mkdir("made", 0777) || mkdir("made/deep", 0777)) perror("mkdir");
    for (int i = 0; i < 100; i++) {
        snprintf(a, sizeof a, "made/%d", i);
        FILE *f = fopen(a, "w");
        if (!f) exit(1);
        fprintf(f, "%d\n", i * i);
        fclose(f);
        snprintf(b, sizeof b, "made/deep/%d", i);
        if (i % 3 == 0 && rename(a, b)) perror("rename");
        if (i % 3 == 1 && unlink(a)) perror("unlink");
    }
    if (link("made/2", "made/hard")) perror("link");
    if (symlink("deep/0", "made/soft")) perror("symlink");
}

int main(int argc, char **argv) {
    long size;
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    if (argc < 3) return 2;
    if (!strcmp(argv[1], "list")) {
        list(argv[2]);
    } else if (!strcmp(argv[1], "quiet")) {
        uint32_t sum = 0;
        write(1, "begin\n", 6);
        for (int i = 2; i < argc; i++) sum += sum_of(argv[i], &size);
        write(1, "end\n", 4);
        printf("%08x\n", sum);
    } else if (!strcmp(argv[1], "hold")) {
        printf("held %08x\n", sum_of(argv[2], &size));
        fflush(stdout);
        while (read(0, bytes, sizeof bytes) > 0) {}
    } else if (!strcmp(argv[1], "read")) {
        FILE *f = fopen(argv[2], "r");
        if (!f || !fgets(bytes, sizeof bytes, f)) return 1;
        fputs(bytes, stdout);
    } else if (!strcmp(argv[1], "write")) {
        FILE *f = fopen(argv[2], "w");
        if (!f || fputs(argv[3], f) < 0 || fclose(f)) {
            perror(argv[2]);
            return 1;
        }
    } else if (!strcmp(argv[1], "pair")) {
        struct stat before, written, after;
        FILE *a, *b = fopen(argv[3], "r");
        if (!b || fstat(fileno(b), &before) || !(a = fopen(argv[2], "w")) ||
            fputs(argv[4], a) < 0 || fclose(a) || !fgets(bytes, sizeof bytes, b) ||
            stat(argv[3], &written) || unlink(argv[2]) || fstat(fileno(b), &after)) {
            perror("pair");
            return 1;
        }
        printf("%s %d %d %d %d\n", bytes, (int)before.st_nlink, (int)written.st_nlink,
               (int)after.st_nlink,
               before.st_ino == after.st_ino && before.st_ino == written.st_ino);
    } else if (!strcmp(argv[1], "change")) {
        change(argv[2]);
    }
    return 0;
}
