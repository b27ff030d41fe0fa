/* Battery of what is refused: calls for devices, or for rights that the caller does not have, and programs to run. */
#include "battery.h"

#include <linux/fs.h>
#include <sys/fanotify.h>
#include <sys/mount.h>
#include <sys/quota.h>
#include <sys/swap.h>
#include <sys/wait.h>

static long run(int fd, const char *path, int flags, const char *zeroth)
{
	char *const argv[] = {(char *)(uintptr_t)zeroth, "-c", "exit 7", NULL}, *const environment[] = {"A=b", NULL};
	pid_t child;
	int status;

	fflush(stdout);
	child = fork();
	MUST(child >= 0);
	if (!child) {
		syscall(SYS_execveat, fd, path, argv, environment, flags);
		_exit(errno);
	}
	MUST(waitpid(child, &status, 0) == child && WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void executing(void)
{
	int fd = OPEN(open(P("script"), O_RDONLY)), path = OPEN(open(P("script"), O_PATH | O_CLOEXEC));

	TRY(run(AT("script"), 0, "script"));
	TRY(run(fd, "", AT_EMPTY_PATH, "script"));
	TRY(run(AT("link"), 0, "link"));
	TRY(run(AT("link"), AT_SYMLINK_NOFOLLOW, "link"));
	TRY(run(AT("file"), 0, "file"));
	TRY(run(AT("none"), 0, "none"));
	TRY(run(AT("directory"), 0, "directory"));
	TRY(run(AT("script/"), 0, "script"));
	TRY(run(AT("script"), 0x10000, "script"));
	close(fd);
	close(path);
}

static void devices(void)
{
	char room[256];

	TRY(swapon(P("file"), 0));
	TRY(swapoff(P("file")));
	TRY(swapon(P("none"), 0));
	TRY(quotactl(QCMD(Q_GETFMT, USRQUOTA), P("file"), 0, room));
	TRY(quotactl(QCMD(Q_GETFMT, USRQUOTA), P("none"), 0, room));
	TRY(syscall(NR_quotactl_fd, battery.fd, QCMD(Q_GETFMT, USRQUOTA), 0, room));
#ifdef SYS_uselib
	TRY(syscall(SYS_uselib, P("file")));
	TRY(syscall(SYS_uselib, P("none")));
#endif
	if (geteuid())
		TRY(syscall(SYS_acct, P("file")));
	TRY(syscall(SYS_acct, P("none")));
	TRY(syscall(SYS_acct, P("directory")));
}

static void calls(void)
{
	executing();
	devices();
}

int main(int argc, char **argv) { return battery_run(argc, argv, calls); }
