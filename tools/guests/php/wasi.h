/*
 * What PHP's sources take for granted and WASI or wasi-libc does not have, for clang's
 * -include. What has a meaning there does it (wasi.c); what has none fails with ENOSYS, or
 * succeeds where nothing depends on it.
 */
#ifndef HUTCH_GUESTS_PHP_WASI_H
#define HUTCH_GUESTS_PHP_WASI_H

/* wasi-libc's has no path. */
#define __wasilibc___struct_sockaddr_un_h
#include <__typedef_sa_family_t.h>
struct sockaddr_un {
    sa_family_t sun_family;
    char sun_path[108];
};

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

/* The same as S_IFSOCK in wasi-libc, which a switch does not take. No file is one. */
#undef S_IFIFO
#define S_IFIFO 0x1000

/* Descriptors, owners, modes. */
int dup(int fd);
int dup2(int fd, int to);
int pipe(int fds[2]);
int getdtablesize(void);
uid_t getuid(void);
uid_t geteuid(void);
gid_t getgid(void);
gid_t getegid(void);
int getgroups(int count, gid_t *groups);
int chown(const char *path, uid_t uid, gid_t gid);
int lchown(const char *path, uid_t uid, gid_t gid);
int fchown(int fd, uid_t uid, gid_t gid);
int chmod(const char *path, mode_t mode);
int fchmod(int fd, mode_t mode);
mode_t umask(mode_t mode);
int mkstemp(char *pattern);
char *mktemp(char *pattern);
int flock(int fd, int operation);
#define F_RDLCK 0
#define F_WRLCK 1
#define F_UNLCK 2
#define F_GETLK 5
#define F_SETLK 6
#define F_SETLKW 7

void arc4random_buf(void *bytes, size_t size);

/* Processes. */
pid_t fork(void);
pid_t setsid(void);
pid_t getpgrp(void);
int kill(pid_t pid, int signal);
int execv(const char *path, char *const arguments[]);
FILE *popen(const char *command, const char *mode);
int pclose(FILE *stream);
FILE *tmpfile(void);

/* Nobody sends a signal. wasi-libc's signal.h has the numbers. */
struct sigaction {
    void (*sa_handler)(int);
    sigset_t sa_mask;
    int sa_flags;
};
#define SA_RESTART 0x10000000
int sigaction(int signal, const struct sigaction *action, struct sigaction *old);
int sigemptyset(sigset_t *set);

/* Sockets: a connection can be accepted on a descriptor that listens, and no other be made. */
int socket(int domain, int type, int protocol);
int socketpair(int domain, int type, int protocol, int fds[2]);
int bind(int fd, const struct sockaddr *address, socklen_t length);
int listen(int fd, int backlog);
int connect(int fd, const struct sockaddr *address, socklen_t length);
int getpeername(int fd, struct sockaddr *address, socklen_t *length);
int getsockname(int fd, struct sockaddr *address, socklen_t *length);
int setsockopt(int fd, int level, int option, const void *value, socklen_t length);
ssize_t sendto(int fd, const void *bytes, size_t size, int flags,
               const struct sockaddr *address, socklen_t length);
ssize_t recvfrom(int fd, void *bytes, size_t size, int flags, struct sockaddr *address,
                 socklen_t *length);
#ifndef MSG_OOB
#define MSG_OOB 0x0001
#endif
#ifndef PF_UNIX
#define PF_UNIX AF_UNIX
#endif
#ifndef POLLPRI
#define POLLPRI 0x002
#endif
#ifndef SO_ERROR
#define SO_ERROR 4
#endif
#ifndef SOL_IP
#define SOL_IP 0
#endif
#ifndef SOMAXCONN
#define SOMAXCONN 128
#endif

#endif
