#ifndef HUTCH_GUESTS_SYS_FILE_H
#define HUTCH_GUESTS_SYS_FILE_H
#include <fcntl.h>
#define LOCK_SH 1
#define LOCK_EX 2
#define LOCK_NB 4
#define LOCK_UN 8
/* One process has a file at a time: always succeeds. */
int flock(int fd, int operation);
#endif
