/*
 * Records of what requests cost: docs/usage.md describes the files.
 *
 *   usage_record.c   a record <-> its 128 bytes
 *   usage_write.c    appends them
 *   usage_read.c     a directory of files -> its records, each once
 *
 * Ownership: strings of a record that was read are borrowed from its bytes. Threads: none.
 */
#ifndef HUTCH_SERVE_USAGE_H
#define HUTCH_SERVE_USAGE_H

#include "base/base.h"

#define USAGE_RECORD_BYTES 128u
#define USAGE_NAME_MAX 96u
#define USAGE_SUFFIX ".usage"

enum usage_type {
    USAGE_FILE = 1,    /* the first record of a file */
    USAGE_APP = 2,     /* a number stands for an app from here on */
    USAGE_REQUEST = 3, /* a request has ended */
    USAGE_OVERHEAD = 4 /* CPU time of tenants outside of requests, since the last such record */
};
#define USAGE_COLD 1u /* flags: the tenant was started for the request */

struct usage_record {
    enum usage_type type;
    uint64_t sequence; /* of the record in its file, from 0 */
    /* USAGE_FILE */
    uint64_t file_id;
    /* USAGE_APP, _REQUEST, _OVERHEAD */
    uint32_t app; /* in this file, from 1 */
    /* USAGE_APP: not terminated */
    const char *name;
    uint32_t name_length;
    /* USAGE_REQUEST; of USAGE_FILE and _OVERHEAD only those named in docs/usage.md */
    uint16_t status; /* that the client was sent; 499: it had gone */
    uint8_t trouble, flags;
    uint64_t request, began_unix_ns, wall_ns, queue_ns, cpu_ns;
    uint64_t received_bytes, sent_bytes, memory_peak_bytes, tenant;
};

void usage_record_encode(const struct usage_record *record, uint8_t ret[USAGE_RECORD_BYTES]);
/* ST_DAMAGED: the checksum does not hold; ST_UNSUPPORTED: another version or type. */
enum status usage_record_decode(const uint8_t bytes[USAGE_RECORD_BYTES],
                                struct usage_record *ret_record, struct error *err) must_check;

/*
 * Calls visit for every request and overhead record of every file in directory, oldest file
 * first; app is its name. visit returns false to end. A record that is cut off at the end of a
 * file is of a write that a kill cut short: it is skipped in silence. What is damaged otherwise
 * is counted, and so is a file that is there twice (a copy), whose records are taken once.
 * ST_IO, ST_NO_MEMORY; ST_NOT_FOUND: no such directory.
 */
struct usage_read {
    uint64_t files, copies, records;
    uint64_t
        damaged; /* records whose checksum does not hold, or that are missing within a file */
    char first_damaged[256]; /* the file */
};
typedef bool (*usage_visit)(void *context, const char *app, const struct usage_record *record);
enum status usage_read(const char *directory, usage_visit visit, void *context,
                       struct usage_read *ret_summary, struct error *err) must_check;

struct usage_writer;
struct event_base;
/* directory is made where it is not there. ST_IO. */
enum status usage_open(struct event_base *base, const char *directory,
                       struct usage_writer **ret_writer, struct error *err) must_check;
/* Queues a record, which is in the file before the loop's next turn is over. *number: the app's
 * in the current file with its generation, kept by the caller, zero to begin with. */
struct usage_app {
    uint32_t number, file;
};
void usage_append(struct usage_writer *writer, const char *name, struct usage_app *app,
                  struct usage_record *record);
uint64_t usage_errors(const struct usage_writer *writer);
void usage_close(struct usage_writer *writer);

#endif
