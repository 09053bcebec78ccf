/*
 * Persistent volumes (docs/volumes.md): a directory and the process that holds it.
 *
 *     volume_lock(dir_fd, &err); volume_start(dir_fd, -1, "data", &control, &err);
 *     volume_limit(control, bytes, 0, 64, &err);
 *     holder_open_session(control, &fd);      a tenant's struct tenant_dir.fd
 */
#ifndef HUTCH_TOOLS_VOLUME_START_H
#define HUTCH_TOOLS_VOLUME_START_H

#include "loader/tenant_protocol.h"

/* The lock belongs to dir_fd's opening, and so to the holder as well. ST_LIMIT: taken. */
enum status volume_lock(int dir_fd, struct error *err) must_check;
/* Descriptors stay the caller's; listen_fd may be -1. The holder ends with its connections. */
enum status volume_start(int dir_fd, int listen_fd, const char *name, int *ret_control_fd,
                         struct error *err) must_check;
/* Says what the volume may hold (names 0: by its size) and waits until it is up. ST_NOT_FOUND:
 * it has gone. */
enum status volume_limit(int control_fd, uint64_t bytes, uint64_t names, uint32_t files,
                         struct error *err) must_check;

#endif
