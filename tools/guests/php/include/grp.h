/* Likewise. */
#ifndef HUTCH_GUESTS_GRP_H
#define HUTCH_GUESTS_GRP_H
#include <sys/types.h>
struct group {
    char *gr_name, *gr_passwd, **gr_mem;
    gid_t gr_gid;
};
struct group *getgrgid(gid_t gid);
struct group *getgrnam(const char *name);
#endif
