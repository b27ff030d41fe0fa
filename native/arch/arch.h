/* arch.h - picks the header of the architecture that the library is compiled for. */
#ifndef DIORAMA_ARCH_H
#define DIORAMA_ARCH_H

#include <sys/types.h>

#if defined(__x86_64__) && defined(__LP64__)
#include "x86_64.h"
#elif defined(__aarch64__)
#include "aarch64.h"
#elif defined(__riscv) && __riscv_xlen == 64
#include "riscv64.h"
#else
#error "diorama: add native/arch/<machine>.h for this architecture"
#endif

#endif
