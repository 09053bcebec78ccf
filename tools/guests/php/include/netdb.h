/* Names of hosts and services: WASI has none, every question is answered with "no". */
#ifndef HUTCH_GUESTS_NETDB_H
#define HUTCH_GUESTS_NETDB_H
#include <netinet/in.h>
struct hostent {
    char *h_name, **h_aliases;
    int h_addrtype, h_length;
    char **h_addr_list;
};
#define h_addr h_addr_list[0]
struct servent {
    char *s_name, **s_aliases;
    int s_port;
    char *s_proto;
};
struct protoent {
    char *p_name, **p_aliases;
    int p_proto;
};
struct hostent *gethostbyname(const char *name);
struct hostent *gethostbyaddr(const void *address, socklen_t length, int type);
int getnameinfo(const struct sockaddr *address, socklen_t length, char *host,
                socklen_t host_size, char *service, socklen_t service_size, int flags);
#define NI_MAXHOST 1025
#define NI_NUMERICHOST 1
#define NI_NAMEREQD 8
#define EAI_FAIL (-4)
struct servent *getservbyname(const char *name, const char *protocol);
struct servent *getservbyport(int port, const char *protocol);
struct protoent *getprotobyname(const char *name);
struct protoent *getprotobynumber(int number);
extern int h_errno;
#define HOST_NOT_FOUND 1
#endif
