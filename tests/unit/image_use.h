/*
 * What a guest can do with an image, at random: WASI calls on the image alone and on a writable
 * layer over it. The bytes may be any; a guard page, a sanitizer or a CHECK sees what goes
 * wrong. Shared by the test that damages an image byte by byte and by the fuzz harness.
 */
#ifndef HUTCH_TESTS_UNIT_IMAGE_USE_H
#define HUTCH_TESTS_UNIT_IMAGE_USE_H

#include "tests/unit/files_differ.h"

/* The bytes as a file, without the flag that there is a checksum: who writes an image can write
 * one that fits. */
static inline int image_use_file(const uint8_t *bytes, size_t size) {
    int fd = memfd_create("image", MFD_CLOEXEC);
    CHECK(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
    uint8_t flags = 0;
    if (pread(fd, &flags, 1, 1024 + 8) == 1) {
        flags &= (uint8_t)~1u;
        CHECK(pwrite(fd, &flags, 1, 1024 + 8) == 1);
    }
    return fd;
}

/* Returns whether it was an image at all. */
static inline bool image_use(const uint8_t *bytes, size_t size, unsigned calls) {
    static struct guest_memory memory;
    if (!memory.base) {
        memory.size_bytes = MEMORY_SIZE;
        memory.base =
            mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(memory.base != MAP_FAILED);
    }
    struct wasi_preopen preopens[2] = {
        {.guest_path = "/ro", .image = true},
        {.guest_path = "/rw", .image = true, .memory = true, .size_bytes = 1 << 16}};
    for (int i = 0; i < 2; i++) preopens[i].fd = image_use_file(bytes, size);
    struct wasi_config config = {
        .preopen_count = 2, .preopens = preopens, .stdio = {-1, -1, -1}};
    struct differ_side side = {.m = memory};
    struct error err = {0};
    if (wasi_create(&config, &side.w, &err) != ST_OK) {
        CHECK(err.message[0] && !strchr(err.message, '\n'));
        return false;
    }
    struct differ d = {.state = crc32c(1, bytes, size) | 1};
    for (unsigned i = 0; i < calls; i++) {
        struct differ_call call = differ_choose(&d);
        if (call.fd == ROOT) call.fd += i % 2;
        if (call.to_fd == ROOT) call.to_fd += i % 2;
        differ_make(&side, &call);
    }
    buffer_finish(&side.answer);
    wasi_destroy(side.w);
    return true;
}

#endif
