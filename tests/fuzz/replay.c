/*
 * Runs a harness over files and directories without libFuzzer: every input that a fuzzer ever
 * found interesting, in the normal test run. Fails where there was nothing to run.
 */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static unsigned long inputs;

static bool replay_file(int dir_fd, const char *name) {
    auto_buffer struct buffer b = {0};
    struct error err = {0};
    if (file_read(dir_fd, name, (size_t)1 << 30, &b, &err) != ST_OK) {
        fprintf(stderr, "replay: %s: %s\n", name, err.message);
        return false;
    }
    uint8_t *copy = malloc(b.size ? b.size : 1); /* of this size, for the sanitizer */
    if (!copy) return false;
    if (b.size) memcpy(copy, b.bytes, b.size);
    LLVMFuzzerTestOneInput(copy, b.size);
    free(copy);
    inputs++;
    return true;
}

static bool replay(const char *path) {
    struct stat st;
    if (stat(path, &st) != 0) {
        perror(path);
        return false;
    }
    if (!S_ISDIR(st.st_mode)) return replay_file(AT_FDCWD, path);
    DIR *dir = opendir(path);
    if (!dir) {
        perror(path);
        return false;
    }
    bool good = true;
    for (struct dirent *entry; good && (entry = readdir(dir));)
        if (entry->d_name[0] != '.') good = replay_file(dirfd(dir), entry->d_name);
    closedir(dir);
    return good;
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        if (!replay(argv[i])) return 1;
    printf("%lu inputs\n", inputs);
    return inputs == 0;
}
