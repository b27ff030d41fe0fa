/* A filter of the program's own: getppid fails with EPERM; an unknown number kills. */
#include "check.h"
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static void install(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 2000, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof code / sizeof *code, code};

	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

int main(void)
{
	pid_t pid;

	setvbuf(stdout, NULL, _IONBF, 0);
	install();
	for (int i = 0; i < 20; i++) {
		int fd;

		CHECK(syscall(SYS_getppid) == -1 && errno == EPERM);
		CHECK((fd = open("/dev/null", O_RDWR)) >= 0 && close(fd) == 0);
		CHECK(syscall(SYS_gettid) == getpid());
	}
	puts("getppid: EPERM, the rest works");
	if ((pid = fork()) == 0) {
		CHECK(syscall(SYS_getppid) == -1 && errno == EPERM);
		_exit(2);
	}
	wait_and_report("child", pid);
	if ((pid = fork()) == 0) {
		syscall(5000);
		_exit(3);
	}
	wait_and_report("unknown number", pid);
	return 0;
}
