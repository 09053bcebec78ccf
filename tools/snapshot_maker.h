/*
 * Inside of the making of snapshots: a program's process, as snapshot_make.c and snapshot_cgi.c
 * start it and talk to it (tools/tenant_requests.h, tools/cgi_order.h).
 */
#ifndef HUTCH_TOOLS_SNAPSHOT_MAKER_H
#define HUTCH_TOOLS_SNAPSHOT_MAKER_H

#include "tools/snapshot_make.h"

#include <sys/types.h>

struct maker_tenant {
    pid_t pid;
    int control;
    bool cgi;
};

/* snapshot_fd: to be resumed, or -1. quiet: what it writes to stderr is not wanted. */
enum status maker_start(const struct snapshot_make *make, int snapshot_fd, bool quiet,
                        struct maker_tenant *ret_tenant, struct error *err) must_check;
void maker_stop(struct maker_tenant *t, int *ret_status);
/* Stops it and says as an error how it ended. */
enum status maker_ended(struct maker_tenant *t, struct error *err) must_check;
enum status maker_tell(struct maker_tenant *t, const void *bytes, size_t size, int fd,
                       struct error *err) must_check;
/* S or W, and waits until it is done. */
enum status maker_ask(struct maker_tenant *t, const struct snapshot_make *make, char type,
                      int fd, const char *what, struct error *err) must_check;

/* snapshot_make for a CGI program. */
enum status snapshot_make_cgi(const struct snapshot_make *make, int *ret_fd,
                              struct error *err) must_check;

#endif
