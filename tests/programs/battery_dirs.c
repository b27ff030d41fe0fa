/* Battery of directories: listing them, standing in them, watching them. */
#include "battery.h"

#include <dirent.h>
#include <sys/inotify.h>
#include <sys/xattr.h>

enum { MOST = 64 };

static int by_name(const void *left, const void *right) { return strcmp(*(char *const *)left, *(char *const *)right); }

/* All names of a directory from where its stream stands, in order. */
static void show_names(const char *what, DIR *listing)
{
	char *names[MOST], line[4096] = "";
	int count = 0;
	struct dirent *one;

	while ((one = readdir(listing)) != NULL && count < MOST) {
		MUST(asprintf(&names[count++], "%s:%d", one->d_name, one->d_type) > 0);
		if (!one->d_ino)
			say("no inode", one->d_name);
	}
	qsort(names, (size_t)count, sizeof *names, by_name);
	for (int i = 0; i < count; i++) {
		strcat(strcat(line, " "), names[i]);
		free(names[i]);
	}
	say(what, line);
}

static void listing(void)
{
	DIR *stream = opendir(P("."));
	char first[NAME_MAX + 1], room[8];
	struct dirent *one;
	struct stat s;
	int different = 0;
	long at;

	MUST(stream != NULL);
	show_names("all", stream);
	rewinddir(stream);
	show_names("again", stream);
	rewinddir(stream);
	while ((one = readdir(stream)) != NULL)
		if (strcmp(one->d_name, "..") && !fstatat(dirfd(stream), one->d_name, &s, AT_SYMLINK_NOFOLLOW))
			different += s.st_ino != one->d_ino;
	TRY(different);
	rewinddir(stream);
	MUST(readdir(stream) != NULL);
	at = telldir(stream);
	one = readdir(stream);
	MUST(one != NULL);
	strcpy(first, one->d_name);
	MUST(readdir(stream) != NULL);
	seekdir(stream, at);
	one = readdir(stream);
	TRY(one && !strcmp(first, one->d_name));
	rewinddir(stream);
	make_file(P("late"), "");
	show_names("with late", stream);
	TRY(unlink(P("late")));
	rewinddir(stream);
	show_names("without late", stream);
	TRY(lseek(dirfd(stream), 0, SEEK_SET));
	TRY(syscall(SYS_getdents64, dirfd(stream), room, sizeof room));
	TRY(read(dirfd(stream), room, sizeof room));
	closedir(stream);
	TRY(opendir(P("file")) == NULL);
	TRY(opendir(P("none")) == NULL);
#ifdef SYS_getdents
	int fd = OPEN(open(P("directory"), O_RDONLY | O_CLOEXEC));
	char old[512];

	TRY(syscall(SYS_getdents, fd, old, sizeof old) > 0);
	TRY(syscall(SYS_getdents, fd, old, sizeof old));
	TRY(lseek(fd, 0, SEEK_SET));
	TRY(syscall(SYS_getdents, fd, old, sizeof old) > 0);
	close(fd);
#endif
}

static void show_cwd(const char *what)
{
	char text[PATH_MAX] = "";
	long n = syscall(SYS_getcwd, text, sizeof text);

	printf("%s %s: %ld %s\n", way_names[battery.way], what, n < 0 ? -errno : n, text);
	n = readlink("/proc/self/cwd", text, sizeof text - 1);
	text[n < 0 ? 0 : n] = 0;
	say("/proc/self/cwd", text);
}

static void standing(void)
{
	int before = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd;
	char text[8];

	MUST(before >= 0);
	TRY(chdir(P("file")));
	TRY(chdir(P("none")));
	TRY(chdir(P("link_to_directory")));
	show_cwd("directory");
	TRY(chdir(".."));
	show_cwd("above");
	TRY(syscall(SYS_getcwd, text, sizeof text));
	fd = OPEN(open("directory", O_PATH | O_CLOEXEC));
	TRY(fchdir(fd));
	show_cwd("by descriptor");
	show_file("inner", "inner");
	show_file("/proc/self/cwd", "/proc/self/cwd/inner");
	show_file("../file", "../file");
	close(fd);
	fd = OPEN(open("../file", O_RDONLY | O_CLOEXEC));
	TRY(fchdir(fd));
	close(fd);
	TRY(fchdir(-1));
	TRY(chdir("../.."));
	show_cwd("top");
	TRY(chdir(".."));
	show_cwd("above the top");
	TRY(fchdir(before));
	close(before);
	show_cwd("back");
}

/* What becomes of somebody who stands in a directory that is moved, and then removed. */
static void moving(void)
{
	int before = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd;
	struct stat s, t;

	MUST(before >= 0);
	TRY(mkdir(P("moving"), 0755));
	TRY(mkdir(P("moving/deep"), 0755));
	fd = OPEN(open(P("moving/deep"), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	TRY(chdir(P("moving/deep")));
	TRY(rename("../../moving", "../../moved"));
	show_cwd("moved");
	TRY(mkdir("below", 0755));
	TRY(stat("../../moved/deep/below", &s));
	TRY(stat("../../moving", &s));
	TRY(fstatat(fd, "below", &s, 0));
	TRY(fstatat(fd, "../deep/below", &t, 0));
	TRY(s.st_ino == t.st_ino);
	TRY(rmdir("below"));
	TRY(rmdir("../deep"));
	TRY(stat(".", &s));
	TRY(s.st_nlink);
	TRY(stat("..", &s));
	TRY(stat("../../file", &s));
	TRY(mkdir("below", 0755));
	SHUT(open("below", O_WRONLY | O_CREAT, 0644));
	SHUT(open(".", O_RDONLY | O_DIRECTORY));
	SHUT(syscall(SYS_openat, fd, ".", O_RDONLY | O_DIRECTORY));
	SHUT(syscall(SYS_openat, fd, "..", O_RDONLY | O_DIRECTORY));
	TRY(syscall(SYS_getcwd, (char[PATH_MAX]){0}, PATH_MAX));
	TRY(fchdir(fd));
	close(fd);
	TRY(fchdir(before));
	close(before);
	TRY(rmdir(P("moved")));
}

static void show_events(int queue)
{
	_Alignas(struct inotify_event) char data[4096];
	ssize_t n = read(queue, data, sizeof data);
	char line[4096] = "";

	for (char *at = data; n > 0 && at < data + n;) {
		struct inotify_event *event = (struct inotify_event *)at;
		char *end = line + strlen(line);

		sprintf(end, " %d:%x:%s", event->wd, event->mask, event->len ? event->name : "");
		at += sizeof *event + event->len;
	}
	say("events", line);
}

static void watching(void)
{
	int queue = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

	MUST(queue >= 0);
	TRY(inotify_add_watch(queue, P("directory"), IN_ALL_EVENTS));
	TRY(inotify_add_watch(queue, P("file"), IN_MODIFY | IN_ATTRIB));
	TRY(inotify_add_watch(queue, P("none"), IN_ALL_EVENTS));
	TRY(inotify_add_watch(queue, P("file"), IN_ALL_EVENTS | IN_ONLYDIR));
	TRY(inotify_add_watch(queue, P("file"), 0));
	TRY(inotify_add_watch(queue, P("link"), IN_MODIFY | IN_DONT_FOLLOW));
	show_events(queue);
	make_file(P("directory/new"), "x");
	show_events(queue);
	TRY(rename(P("directory/new"), P("directory/newer")));
	TRY(unlink(P("directory/newer")));
	show_events(queue);
	TRY(truncate(P("file"), 3));
	TRY(chmod(P("file"), 0600));
	TRY(chmod(P("file"), 0644));
	show_events(queue);
	TRY(inotify_rm_watch(queue, 1));
	show_events(queue);
	close(queue);
}

static void calls(void)
{
	listing();
	standing();
	moving();
	watching();
}

int main(int argc, char **argv) { return battery_run(argc, argv, calls); }
