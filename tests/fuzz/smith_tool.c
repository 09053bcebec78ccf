/*
 * smith SEED [FILE]: the smith's module for a seed, to a file or to standard output.
 * smith --seeds DIR COUNT: a first corpus: COUNT modules, the chance they were made of, and
 * copies of the modules with a byte changed or the end cut.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

/* xorshift64*: the same everywhere. */
static uint64_t next(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

static bool write_file(const char *path, const uint8_t *bytes, size_t size) {
    auto_file FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, size, file) != size || fflush(file) != 0) {
        perror(path);
        return false;
    }
    return true;
}

static bool write_seed(const char *dir, const char *kind, uint64_t seed, const uint8_t *bytes,
                       size_t size) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s%llu", dir, kind, (unsigned long long)seed);
    return write_file(path, bytes, size);
}

static bool seeds(const char *dir, uint64_t count) {
    if (mkdir(dir, 0777) != 0 && errno != EEXIST) {
        perror(dir);
        return false;
    }
    for (uint64_t seed = 0; seed < count; seed++) {
        uint8_t bytes[SMITH_CHANCE_BYTES];
        uint64_t state = seed + 1;
        smith_chance(seed, bytes);
        auto_buffer struct buffer module = {0};
        smith_module(bytes, SMITH_CHANCE_BYTES, &module);
        bool good = write_seed(dir, "chance", seed, bytes, SMITH_CHANCE_BYTES) &&
                    write_seed(dir, "module", seed, module.bytes, module.size);
        size_t cut = (size_t)(next(&state) % module.size);
        good = good && write_seed(dir, "cut", seed, module.bytes, cut);
        module.bytes[next(&state) % module.size] = (uint8_t)next(&state);
        good = good && write_seed(dir, "changed", seed, module.bytes, module.size);
        if (!good) return false;
    }
    return true;
}

int main(int argc, char **argv) {
    if (argc == 4 && strcmp(argv[1], "--seeds") == 0)
        return !seeds(argv[2], strtoull(argv[3], NULL, 10));
    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: smith SEED [FILE] | smith --seeds DIR COUNT\n");
        return 2;
    }
    uint8_t bytes[SMITH_CHANCE_BYTES];
    smith_chance(strtoull(argv[1], NULL, 10), bytes);
    auto_buffer struct buffer module = {0};
    smith_module(bytes, SMITH_CHANCE_BYTES, &module);
    return !write_file(argc == 3 ? argv[2] : "/dev/stdout", module.bytes, module.size);
}
