/* Chrooting: another root for this process, and what paths mean then.  Run where `jail` is a directory with `file`,
 * `sub`, a static program `hello`, and links. */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "check.h"

static void tell(const char *what, int result)
{
	printf("%s: %s\n", what, result < 0 ? strerrorname_np(errno) : "done");
	fflush(stdout);
}

static void tell_directory(const char *what)
{
	char path[4096];
	long n = syscall(SYS_getcwd, path, sizeof path);

	if (n > 0 && !strncmp(path, "(unreachable)", 13))
		path[13] = 0;
	printf("%s: in %s\n", what, n < 0 ? strerrorname_np(errno) : path);
	fflush(stdout);
}

static void tell_file(const char *name)
{
	char text[64] = "";
	int fd = open(name, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

	printf("%s: %s\n", name, n < 0 ? strerrorname_np(errno) : text);
	fflush(stdout);
	if (fd >= 0)
		close(fd);
}

static void *in_thread(void *unused)
{
	(void)unused;
	tell_file("/thread");
	tell("chroot in a thread", chroot("/sub"));
	return NULL;
}

static void in_child(const char *what, int flags)
{
	pid_t child = (pid_t)syscall(SYS_clone, flags | SIGCHLD, NULL, NULL, NULL, NULL);

	if (!child) {
		tell_file("/file");
		tell("chroot in a child", chroot("/sub"));
		_exit(0);
	}
	wait_and_report(what, child);
}

static void look_around(void)
{
	tell_file("/file");
	tell_file("/../../file");
	tell_file("absolute");
	tell_file("up");
	tell_file("/etc/passwd");
	tell_file("/proc/self/status");
	tell("readlink", (int)readlink("/absolute", (char[64]){0}, 64));
	tell("mkdir", mkdir("/made", 0755));
	tell("rmdir", rmdir("/made"));
}

int main(void)
{
	pthread_t thread;
	int outside = open(".", O_RDONLY | O_DIRECTORY);

	CHECK(outside >= 0);
	tell("nothing", chroot("nothing"));
	tell("a file", chroot("jail/file"));
	tell("jail", chroot("jail"));
	tell_directory("before chdir");
	tell_file("jail/file");
	tell("chdir", chdir("/"));
	tell_directory("after");
	look_around();
	tell("up", chdir("../../.."));
	tell_directory("up");
	tell("sub", chdir("sub"));
	tell_directory("sub");
	tell_file("../file");
	in_child("with its own root", 0);
	tell_file("/file");
	in_child("with the same root", CLONE_FS);
	tell_file("/file");
	CHECK(pthread_create(&thread, NULL, in_thread, NULL) == 0);
	pthread_join(thread, NULL);
	tell("out", fchdir(outside));
	tell_directory("out");
	tell_file("jail/file");
	tell("chroot to it", chroot("."));
	tell_directory("as before");
	tell_file("/jail/file");
	tell("again", chroot("jail"));
	tell("in", chdir("/"));
	pid_t child = fork();
	if (!child) {
		CHECK(setresgid(65534, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0);
		tell("nobody's", chroot("/"));
		tell("nobody's, closed", chroot("/closed"));
		tell("nobody's, below closed", chroot("/closed/x"));
		_exit(0);
	}
	wait_and_report("nobody", child);
	execl("/hello", "hello", NULL);
	tell("exec", -1);
	return 0;
}
