/*
 * shared_fd: one descriptor for one file, however many apps have it. Apps of one module, with
 * the same interpreter, library or snapshot, come with descriptors of the same files, and a
 * process may have only so many. Regular files that were opened alike are the same by device
 * and inode, which no other file takes while the descriptor is open; nobody may rely on their
 * offset. Others (volumes' sockets) stay as they are.
 *
 * Process-wide, for one thread. What was taken or copied is given back with shared_fd_release,
 * never with close.
 */
#ifndef HUTCH_SERVE_SHARED_FD_H
#define HUTCH_SERVE_SHARED_FD_H

#include "base/base.h"

/* Takes a descriptor over: the one to use in its place, or itself. -1 stays -1. */
int shared_fd_take(int fd);
/* The same for one that stays the caller's: another reference, or a duplicate. -1: errno. */
int shared_fd_copy(int fd);
/* Closed with the last that has it; -1 and one that is not shared will do, too. */
void shared_fd_release(int fd);

#endif
