/* Battery of contents: opening, reading, writing, copying, mapping and locking. */
#include "battery.h"

#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <sys/wait.h>

struct how {
	uint64_t flags, mode, resolve;
};

static void opening(void)
{
	struct how how = {.flags = O_RDONLY | O_CLOEXEC};
	char link[64], text[PATH_MAX];
	ssize_t n;
	int fd;

	SHUT(open(P("file"), O_RDONLY));
	SHUT(open(P("file"), O_RDWR | O_APPEND));
	SHUT(open(P("file"), O_RDONLY | O_DIRECTORY));
	SHUT(open(P("file/"), O_RDONLY));
	SHUT(open(P("file"), O_WRONLY | O_CREAT | O_EXCL, 0644));
	SHUT(open(P("file"), O_RDONLY | O_CREAT, 0644));
	SHUT(open(P("file"), O_ACCMODE));
	SHUT(open(P("directory"), O_RDONLY));
	SHUT(open(P("directory"), O_WRONLY));
	SHUT(open(P("directory"), O_RDONLY | O_TRUNC));
	SHUT(open(P("directory/"), O_PATH));
	SHUT(open(P("none"), O_RDONLY));
	SHUT(open(P("none"), O_PATH | O_CREAT, 0644));
	SHUT(open(P("fifo"), O_RDONLY | O_NONBLOCK));
	SHUT(open(P("fifo"), O_WRONLY | O_NONBLOCK));
	SHUT(open(P("fifo"), O_RDWR | O_NONBLOCK));
	SHUT(open(P("fifo"), O_PATH));
	SHUT(open(P("link"), O_RDONLY | O_NOFOLLOW));
	SHUT(open(P("link"), O_PATH | O_NOFOLLOW));
	SHUT(open(P("link"), O_RDONLY));
	SHUT(open("", O_RDONLY));
	SHUT(open((char *)8, O_RDONLY));
	SHUT(syscall(SYS_openat, -1, "file", O_RDONLY));
	SHUT(syscall(SYS_openat, battery.fd, "", O_RDONLY));
	SHUT(syscall(NR_openat2, AT("file"), &how, sizeof how));
	SHUT(syscall(NR_openat2, AT("file"), &how, sizeof how - 1));
	SHUT(syscall(NR_openat2, AT("file"), &how, 0));
	how.mode = 0644;
	SHUT(syscall(NR_openat2, AT("file"), &how, sizeof how));
	how = (struct how){.flags = O_RDWR | O_CREAT | O_EXCL, .mode = 0640};
	SHUT(syscall(NR_openat2, AT("made"), &how, sizeof how));
	SHUT(syscall(NR_openat2, AT("made"), &how, sizeof how));
	TRY(unlink(P("made")));
	how = (struct how){.flags = UINT64_C(1) << 40};
	SHUT(syscall(NR_openat2, AT("file"), &how, sizeof how));
	how = (struct how){.resolve = 0x1000};
	SHUT(syscall(NR_openat2, AT("file"), &how, sizeof how));
	fd = OPEN(open(P("link"), O_RDONLY | O_CLOEXEC));
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	n = readlink(link, text, sizeof text - 1);
	text[n < 0 ? 0 : n] = 0;
	say("named", text);
	SHUT(open(link, O_RDWR));
	SHUT(open(link, O_RDWR | O_NOFOLLOW));
	SHUT(open(link, O_PATH | O_NOFOLLOW));
	SHUT(open(join(link, "/x", ""), O_RDONLY));
	SHUT(open(join(link, "/.", ""), O_RDONLY));
	close(fd);
	fd = OPEN(open(P("directory"), O_PATH | O_CLOEXEC));
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	SHUT(open(join(link, "/../file", ""), O_RDONLY));
	SHUT(open(join(link, "/inner", ""), O_RDONLY));
	SHUT(syscall(SYS_openat, fd, "../file", O_RDONLY));
	SHUT(syscall(SYS_openat, fd, ".", O_RDONLY));
	TRY(read(fd, text, 1));
	TRY(fchmod(fd, 0755));
	close(fd);
	fd = OPEN(open(P("directory"), O_TMPFILE | O_RDWR, 0600));
	TRY(write(fd, "text", 4));
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	TRY(linkat(AT_FDCWD, link, AT_FDCWD, P("linked"), AT_SYMLINK_FOLLOW));
	show_file("linked", P("linked"));
	TRY(unlink(P("linked")));
	close(fd);
	SHUT(open(P("file"), O_TMPFILE | O_RDWR, 0600));
	SHUT(open(P("directory"), O_TMPFILE | O_RDONLY, 0600));
}

static void writing(void)
{
	struct iovec two[2] = {{"ab", 2}, {"cd", 2}};
	int fd = OPEN(open(P("written"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
	int again = OPEN(open(P("written"), O_RDONLY | O_CLOEXEC));
	int adding = OPEN(open(P("written"), O_WRONLY | O_APPEND | O_CLOEXEC));

	TRY(write(fd, "hello", 5));
	TRY(pwrite(fd, "J", 1, 0));
	TRY(writev(fd, two, 2));
	show_content("again", again);
	TRY(write(adding, "!", 1));
	show_content("again", again);
	TRY(lseek(fd, 100, SEEK_SET));
	TRY(write(fd, "end", 3));
	TRY(lseek(fd, 0, SEEK_END));
	TRY(write(again, "x", 1));
	TRY(read(adding, (char[1]){0}, 1));
	TRY(ftruncate(fd, 4));
	show_content("again", again);
	TRY(ftruncate(again, 4));
	TRY(fallocate(fd, 0, 0, 10));
	TRY(lseek(fd, 0, SEEK_END));
	TRY(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 20));
	TRY(lseek(fd, 0, SEEK_END));
	TRY(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1, 2));
	TRY(fallocate(again, 0, 0, 10));
	TRY(fallocate(fd, 0, -1, 10));
	TRY(fsync(fd));
	TRY(fdatasync(again));
	TRY(syncfs(fd));
	TRY(sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE));
	TRY(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
	TRY(readahead(fd, 0, 100));
	TRY(unlink(P("written")));
	TRY(pwrite(fd, "still", 5, 0));
	show_content("unlinked", again);
	show_file("gone", P("written"));
	close(fd);
	close(again);
	close(adding);
}

static void copying(void)
{
	int in = OPEN(open(P("file"), O_RDONLY | O_CLOEXEC));
	int out = OPEN(open(P("copy"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
	int elsewhere = OPEN(open(OTHER("copy"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
	int ends[2], more[2];
	off_t zero = 0;
	loff_t start = 0, end = 0;

	MUST(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0 && pipe2(more, O_CLOEXEC | O_NONBLOCK) == 0);
	TRY(sendfile(out, in, &zero, 4));
	zero = 0;
	TRY(sendfile(elsewhere, in, &zero, 4));
	TRY(copy_file_range(in, &start, out, &end, 5, 0));
	show_content("copy", out);
	TRY(copy_file_range(in, &start, in, &end, 5, 0));
	TRY(lseek(in, 0, SEEK_SET));
	TRY(splice(in, NULL, ends[1], NULL, 4, 0));
	TRY(tee(ends[0], more[1], 4, SPLICE_F_NONBLOCK));
	TRY(splice(ends[0], NULL, out, NULL, 4, 0));
	TRY(splice(more[0], NULL, elsewhere, NULL, 4, 0));
	show_content("copy", out);
	show_content("elsewhere", elsewhere);
	TRY(unlink(P("copy")));
	for (int i = 0; i < 2; i++) {
		close(ends[i]);
		close(more[i]);
	}
	close(in);
	close(out);
	close(elsewhere);
}

static void mapping(void)
{
	int fd = OPEN(open(P("mapped"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
	int reader = OPEN(open(P("mapped"), O_RDONLY | O_CLOEXEC));
	char *shared, *private, *other;

	if (fd < 0)
		return;
	TRY(ftruncate(fd, 4096));
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	private = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	other = mmap(NULL, 4096, PROT_READ, MAP_SHARED, reader, 0);
	MUST(shared != MAP_FAILED && private != MAP_FAILED && other != MAP_FAILED);
	TRY(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, reader, 0) == MAP_FAILED);
	strcpy(shared, "by the map");
	show_content("mapped", reader);
	say("other map", other);
	strcpy(private, "private");
	say("other map", other);
	TRY(pwrite(fd, "BY", 2, 0));
	say("other map", other);
	say("private", private);
	TRY(msync(shared, 4096, MS_SYNC));
	show_file("mapped", P("mapped"));
	TRY(munmap(shared, 4096) | munmap(private, 4096) | munmap(other, 4096));
	TRY(unlink(P("mapped")));
	close(fd);
	close(reader);
}

/* What another process gets that asks for the same lock. */
static long in_child(long (*ask)(void))
{
	pid_t child;
	int status;

	fflush(stdout);
	child = fork();
	MUST(child >= 0);
	if (!child)
		_exit(ask() == 0 ? 0 : errno);
	MUST(waitpid(child, &status, 0) == child && WIFEXITED(status));
	errno = WEXITSTATUS(status);
	return errno ? -1 : 0;
}

static long ask_flock(void) { return flock(open(P("file"), O_RDONLY | O_CLOEXEC), LOCK_EX | LOCK_NB); }

static long ask_with(int command)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	return fcntl(open(P("file"), O_RDWR | O_CLOEXEC), command, &lock);
}

static long ask_posix(void) { return ask_with(F_SETLK); }
static long ask_description(void) { return ask_with(F_OFD_SETLK); }

static void locking(void)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 4}, none = {.l_type = F_UNLCK};
	int fd = OPEN(open(P("file"), O_RDWR | O_CLOEXEC));
	int lease;

	TRY(flock(fd, LOCK_SH));
	TRY(in_child(ask_flock));
	TRY(flock(fd, LOCK_UN));
	TRY(in_child(ask_flock));
	TRY(fcntl(fd, F_SETLK, &lock));
	TRY(in_child(ask_posix));
	TRY(in_child(ask_description));
	TRY(fcntl(fd, F_GETLK, &lock));
	TRY(fcntl(fd, F_SETLK, &none));
	TRY(in_child(ask_posix));
	lock = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET};
	TRY(fcntl(fd, F_OFD_SETLK, &lock));
	TRY(in_child(ask_description));
	TRY(fcntl(fd, F_OFD_SETLK, &none));
	close(fd);
	lease = OPEN(open(P("file"), O_RDONLY | O_CLOEXEC));
	TRY(fcntl(lease, F_GETLEASE));
	TRY(fcntl(lease, F_SETLEASE, F_RDLCK));
	TRY(fcntl(lease, F_GETLEASE));
	TRY(fcntl(lease, F_SETLEASE, F_UNLCK));
	TRY(fcntl(lease, F_SETLEASE, F_WRLCK));
	TRY(fcntl(lease, F_SETLEASE, F_UNLCK));
	TRY(fcntl(lease, F_NOTIFY, 0));
	close(lease);
}

static void calls(void)
{
	opening();
	writing();
	copying();
	mapping();
	locking();
}

int main(int argc, char **argv) { return battery_run(argc, argv, calls); }
