/*
 * The inside of the image reader: the format's table as constants, and loads of little-endian
 * fields. The interface is in runtime.h.
 *
 *   image.c        superblock, inodes, data
 *   image_dir.c    directories: entries by position, names by binary search
 *   image_path.c   paths, confined, with symbolic links
 *   image_check.c  a whole image
 */
#ifndef HUTCH_RUNTIME_IMAGE_H
#define HUTCH_RUNTIME_IMAGE_H

#include "runtime/runtime.h"

enum {
#define EROFS_FIELD(record, name, offset, size) EROFS_##record##_##name = (offset),
#define EROFS_VALUE(name, value) EROFS_##name = (value),
#include "base/erofs.def"
};
#define EROFS_WORD(name, value) static const uint32_t EROFS_##name = (value);
#include "base/erofs.def"

static inline uint16_t le16(const uint8_t *from) {
    return (uint16_t)(from[0] | (unsigned)from[1] << 8);
}
static inline uint32_t le32(const uint8_t *from) {
    return le16(from) | (uint32_t)le16(from + 2) << 16;
}
static inline uint64_t le64(const uint8_t *from) {
    return le32(from) | (uint64_t)le32(from + 4) << 32;
}

#endif
