/* An absolute address in a loaded section, and a function that is there twice. */
#ifdef TWICE
int f2(void);
int f2(void) { return 8; }
#else
__asm__(".section .rodata\n.quad f2\n.text\n");
#endif
