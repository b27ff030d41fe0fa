/* Handler: an interpreter for formats of binfmt_misc, says what it was given. */
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/prctl.h>

#include "check.h"

int main(int argc, char **argv)
{
	char exe[4096] = "", comm[32] = "", head[5] = "";
	ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);

	CHECK(n > 0);
	CHECK(prctl(PR_GET_NAME, comm) == 0);
	printf("comm=%s execfn=%s exe=%s flags=%lu", comm, (char *)getauxval(AT_EXECFN), strrchr(exe, '/') + 1,
	       getauxval(AT_FLAGS));
	errno = 0;
	int fd = (int)getauxval(AT_EXECFD);
	if (!errno) {
		CHECK(pread(fd, head, 4, 0) >= 0);
		printf(" file=%s,%d,%d", head, fcntl(fd, F_GETFL) & O_ACCMODE, fcntl(fd, F_GETFD));
	}
	for (int i = 0; i < argc; i++)
		printf(" [%s]", argv[i]);
	printf("\n");
	return 0;
}
