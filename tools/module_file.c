/*
 * A file to the bytes of a module. What people hand to a compiler by mistake is told apart
 * here, by its first bytes: text format, our own objects, components. Everything else that is
 * no module gets the decoder's message.
 */
#include "tools/cli.h"

#include <fcntl.h>

#define MODULE_FILE_MAX_BYTES (UINT64_C(1) << 30) /* as module.h has it */

/* true where the text begins like "(module": blanks and comments, then a parenthesis. */
static bool looks_like_text(const uint8_t *bytes, size_t size) {
    size_t i = 0;
    for (; i < size; i++) {
        if (bytes[i] == ';' && i + 1 < size && bytes[i + 1] == ';') {
            while (i < size && bytes[i] != '\n') i++;
        } else if (bytes[i] != ' ' && bytes[i] != '\t' && bytes[i] != '\r' &&
                   bytes[i] != '\n') {
            break;
        }
    }
    return i < size && bytes[i] == '(';
}

/* the message names the file already */
static enum status plain_error(struct error *err) {
    return error_set(err, ST_IO, "%s", strerror(err->saved_errno));
}

enum status module_file_open(const char *path, int *ret_fd, struct error *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        error_set_errno(err, ST_IO, "cannot open");
        return plain_error(err);
    }
    *ret_fd = fd;
    return ST_OK;
}

enum status module_file_read(const char *path, struct buffer *b, bool *ret_is_object,
                             struct error *err) {
    auto_fd int fd = -1;
    enum status status = module_file_open(path, &fd, err);
    return status != ST_OK ? status : module_file_read_fd(fd, path, b, ret_is_object, err);
}

enum status module_file_read_fd(int fd, const char *path, struct buffer *b, bool *ret_is_object,
                                struct error *err) {
    size_t start = b->size;
    enum status status = file_read_fd(fd, path, MODULE_FILE_MAX_BYTES, b, err);
    if (status == ST_IO) return plain_error(err);
    if (status == ST_LIMIT)
        return error_set(err, ST_LIMIT, "larger than 1 GiB, the most a module may be");
    if (status != ST_OK) return status;
    const uint8_t *bytes = b->bytes + start;
    size_t size = b->size - start, path_length = strlen(path);
    if (ret_is_object) *ret_is_object = false;
    if (size == 0) return error_set(err, ST_MALFORMED, "the file is empty");
    if (size >= 4 && memcmp(bytes, "\177ELF", 4) == 0) {
        if (!ret_is_object)
            return error_set(err, ST_MALFORMED, "this is native code already, not a module");
        *ret_is_object = true;
        return ST_OK;
    }
    if (size >= 8 && memcmp(bytes, "\0asm", 4) == 0 && bytes[6] == 1)
        return error_set(err, ST_UNSUPPORTED, "this is a component; hutch takes core modules");
    bool binary = size >= 4 && memcmp(bytes, "\0asm", 4) == 0;
    if (!binary && (looks_like_text(bytes, size) ||
                    (path_length > 4 && strcmp(path + path_length - 4, ".wat") == 0)))
        return error_set(err, ST_MALFORMED,
                         "this is the text format; make a binary module with: wat2wasm %s",
                         path);
    return ST_OK;
}
