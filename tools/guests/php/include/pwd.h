/* Nobody has a name. */
#ifndef HUTCH_GUESTS_PWD_H
#define HUTCH_GUESTS_PWD_H
#include <sys/types.h>
struct passwd {
    char *pw_name, *pw_passwd, *pw_gecos, *pw_dir, *pw_shell;
    uid_t pw_uid;
    gid_t pw_gid;
};
struct passwd *getpwuid(uid_t uid);
struct passwd *getpwnam(const char *name);
#endif
