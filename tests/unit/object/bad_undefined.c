/* A symbol that no partition defines. */
int nowhere(void);
int extra(void);
int extra(void) { return nowhere() + 1; }
