/*
 * Files of an app's images as the front sees them: for apps whose scripts are found by path
 * (app.site), and whose other files the front sends itself.
 *
 * Ownership: a struct site_files owns its mappings; a piece of a file that is on its way to a
 * client keeps its mapping alive beyond site_files_close. Images may be hostile: they are read
 * as runtime.h's reader reads them.
 */
#ifndef HUTCH_SERVE_SITE_FILES_H
#define HUTCH_SERVE_SITE_FILES_H

#include "serve/serve.h"

struct evbuffer;
struct site_files;
/* Maps the images among the kit's directories. */
enum status site_files_open(const struct serve_kit *kit, struct site_files **ret_files,
                            struct error *err) must_check;
void site_files_close(struct site_files *files); /* NULL does nothing */
/* struct app_site's lookup; context is the struct site_files. */
enum app_file_kind site_files_look(void *context, const char *guest_path);

struct site_file {
    uint64_t size_bytes, mtime_s;
    const char *type; /* for Content-Type */
};
/* Appends the file's content to out (NULL: only *ret_file is filled). false: no such file. */
bool site_files_read(struct site_files *files, const char *guest_path,
                     struct site_file *ret_file, struct evbuffer *out);

#endif
