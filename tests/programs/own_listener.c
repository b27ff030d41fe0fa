/* A listener of the program's own: it is notified of its child's getppid, and answers it. */
#include "check.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static int listen_to_getppid(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof code / sizeof *code, code};

	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

int main(void)
{
	struct seccomp_notif notice;
	struct seccomp_notif_resp answer = {.val = 4321};
	int listener = listen_to_getppid();
	pid_t pid;

	if (listener < 0) {
		printf("no listener: %s\n", strerror(errno));
		return 1;
	}
	if ((pid = fork()) == 0) {
		CHECK(syscall(SYS_getppid) == 4321);
		_exit(7);
	}
	memset(&notice, 0, sizeof notice);
	CHECK(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &notice) == 0);
	CHECK((pid_t)notice.pid == pid);
	answer.id = notice.id;
	CHECK(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer) == 0);
	wait_and_report("answered child", pid);
	return 0;
}
