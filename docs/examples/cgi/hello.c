#include <stdio.h>
#include <stdlib.h>

int main(void) {
    const char *query = getenv("QUERY_STRING");
    printf("Status: 200 OK\r\nContent-Type: text/plain\r\n\r\nHello, %s\n", query ? query : "");
    for (int c; (c = getchar()) != EOF;) putchar(c);
    return 0;
}
