/* main_gone: the first thread ends, others go on in its directory, make threads and children, and exec. */
#include "check.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>

static void *where(void *argument)
{
	char place[4096];

	CHECK(getcwd(place, sizeof place));
	printf("%s: %s\n", (char *)argument, strrchr(place, '/'));
	fflush(stdout);
	return NULL;
}

static void look(const char *what)
{
	struct dirent *entry;
	DIR *here = opendir(".");
	int count = 0;

	CHECK(here);
	while ((entry = readdir(here)))
		count += entry->d_name[0] != '.';
	CHECK(closedir(here) == 0);
	printf("%s: %d entries\n", what, count);
	fflush(stdout);
}

static void wait_for_main(void)
{
	char path[64], text[512], *state;
	int fd;

	snprintf(path, sizeof path, "/proc/self/task/%d/stat", getpid());
	do {
		ssize_t n;

		sleep_ms(2);
		fd = open(path, O_RDONLY);
		CHECK(fd >= 0);
		n = read(fd, text, sizeof text - 1);
		CHECK(n > 0);
		text[n] = 0;
		close(fd);
		state = strrchr(text, ')') + 2;
	} while (*state != 'Z');
	sleep_ms(30); /* longer than anybody may take our word for who we are */
}

static void *go_on(void *unused)
{
	pthread_t thread;
	pid_t child;
	int i;

	wait_for_main();
	for (i = 0; i < 3; i++) {
		where("thread");
		look("thread");
		CHECK(pthread_create(&thread, NULL, where, "another") == 0);
		CHECK(pthread_join(thread, NULL) == 0);
		child = fork();
		CHECK(child >= 0);
		if (child == 0) {
			where("child");
			_exit(4);
		}
		wait_and_report("child", child);
	}
	execl("/bin/sh", "sh", "-c", "basename $(/bin/pwd); ls; (cd ..; basename $(/bin/pwd))", (char *)0);
	CHECK(0);
	return unused;
}

int main(int argc, char **argv)
{
	pthread_t thread;

	CHECK(argc == 2);
	CHECK(chdir(argv[1]) == 0);
	CHECK(pthread_create(&thread, NULL, go_on, NULL) == 0);
	pthread_exit(NULL);
}
