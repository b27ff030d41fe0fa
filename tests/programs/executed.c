/* Executed: says what it knows about how it was executed. */
#include <dlfcn.h>
#include <sys/auxv.h>
#include <sys/prctl.h>

#include "check.h"

#ifdef WITH_LIBRARY
const char *from_library(void);
#else
static const char *from_library(void) { return "none"; }
#endif

int main(int argc, char **argv)
{
	char exe[4096] = "", comm[32] = "", *name = (char *)getauxval(AT_EXECFN);
	ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);

	CHECK(n > 0);
	CHECK(prctl(PR_GET_NAME, comm) == 0);
	printf("executed comm=%s execfn=%s exe=%.*s library=%s base=%d", comm, name, (int)n, exe, from_library(),
	       getauxval(AT_BASE) != 0);
#ifndef STATIC
	Dl_info info;
	CHECK(dladdr((void *)(uintptr_t)main, &info));
	printf(" dladdr=%s", info.dli_fname);
#endif
	for (int i = 0; i < argc; i++)
		printf(" [%s]", argv[i]);
	printf("\n");
	return argc > 100 ? 100 : argc;
}
