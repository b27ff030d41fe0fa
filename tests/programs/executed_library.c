/* The library that `executed` finds beside itself. */
const char *from_library(void);

const char *from_library(void) { return "found"; }
