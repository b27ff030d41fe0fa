/* mmap_forbidden: opens a file before and after its own filter kills for mmap(2), and so does a child. */
#include "check.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#ifdef __i386__
#define MAPPING SYS_mmap2
#else
#define MAPPING SYS_mmap
#endif

static void open_one(const char *what)
{
	int fd = open("first", O_RDONLY);

	dprintf(1, "%s: %s\n", what, fd >= 0 ? "opened" : strerror(errno));
	close(fd);
}

int main(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MAPPING, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {4, code};
	int status, i;
	pid_t pid;

	open_one("before");
	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
	for (i = 0; i < 20; i++)
		open_one("after");
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		open_one("child");
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	dprintf(1, "child: %x\n", (unsigned)status);
	return 0;
}
