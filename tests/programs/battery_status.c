/* Battery of status: what is known of a file, its permissions, times, owners and attributes. */
#include "battery.h"

#include <linux/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/xattr.h>
#include <utime.h>

struct xattr_args {
	uint64_t value;
	uint32_t size, flags;
};

/* A time that somebody has set, or that it is the present: 0. */
static double set_time(const struct stat *s, const struct timespec *time)
{
	return S_ISREG(s->st_mode) && time->tv_sec < 1000000000 ? (double)time->tv_sec + 1e-9 * (double)time->tv_nsec : 0;
}

static void show_status(const char *what, const struct stat *s)
{
	int is_directory = S_ISDIR(s->st_mode);

	printf("%s %s: mode %o links %d size %d own %d %d atime %.9f mtime %.9f\n", way_names[battery.way], what,
	       (unsigned)s->st_mode, is_directory ? 0 : (int)s->st_nlink, is_directory ? 0 : (int)s->st_size,
	       s->st_uid == geteuid(), s->st_gid == getegid(), set_time(s, &s->st_atim), set_time(s, &s->st_mtim));
}

#define STAT(call)                                                                                                     \
	do {                                                                                                           \
		if (TRY(call) == 0)                                                                                    \
			show_status(#call, &s);                                                                        \
	} while (0)

static void stats(void)
{
	struct stat s, t;
	int fd = OPEN(open(P("file"), O_RDONLY | O_CLOEXEC));
	int link = OPEN(open(P("link"), O_PATH | O_NOFOLLOW | O_CLOEXEC));

	STAT(stat(P("file"), &s));
	STAT(stat(P("link"), &s));
	STAT(lstat(P("link"), &s));
	STAT(lstat(P("link/"), &s));
	STAT(stat(P("directory"), &s));
	STAT(stat(P("directory/"), &s));
	STAT(stat(P("directory/."), &s));
	STAT(stat(P("file/"), &s));
	STAT(stat(P("file/x"), &s));
	STAT(stat(P("none"), &s));
	STAT(stat(P("dangling"), &s));
	STAT(lstat(P("dangling"), &s));
	STAT(stat(P("fifo"), &s));
	STAT(stat("", &s));
	STAT(fstatat(fd, "", &s, AT_EMPTY_PATH));
	STAT(fstatat(link, "", &s, AT_EMPTY_PATH));
	STAT(fstatat(link, "x", &s, 0));
	STAT(fstatat(fd, "", &s, 0));
	STAT(fstatat(fd, "x", &s, 0));
	STAT(fstatat(-1, "x", &s, 0));
	STAT(fstatat(-1, "", &s, AT_EMPTY_PATH));
	STAT(fstatat(battery.fd, "file", &s, AT_EMPTY_PATH));
	STAT(fstatat(battery.fd, "link", &s, AT_SYMLINK_NOFOLLOW));
	STAT(fstatat(battery.fd, "link", &s, 0x10000));
	STAT(fstat(fd, &s));
	STAT(fstat(link, &s));
	if (stat(P("file"), &s) == 0 && fstat(fd, &t) == 0)
		TRY(s.st_ino == t.st_ino && s.st_dev == t.st_dev);
	if (stat(P("."), &s) == 0 && stat(P("directory/.."), &t) == 0)
		TRY(s.st_ino == t.st_ino && s.st_dev == t.st_dev);
	if (stat(P("hard"), &s) == 0 && stat(P("file"), &t) == 0)
		TRY(s.st_ino == t.st_ino && s.st_dev == t.st_dev);
	close(fd);
	close(link);
}

static void extended(void)
{
	struct statx x;
	int fd = OPEN(open(P("file"), O_RDONLY | O_CLOEXEC));

	TRY(syscall(SYS_statx, AT("file"), 0, STATX_BASIC_STATS, &x));
	TRY(x.stx_mode);
	TRY(x.stx_size);
	TRY(x.stx_nlink);
	TRY(x.stx_mask & STATX_BASIC_STATS);
	TRY(syscall(SYS_statx, AT("link"), AT_SYMLINK_NOFOLLOW, STATX_TYPE | STATX_MODE, &x));
	TRY(x.stx_mode);
	TRY(syscall(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_SIZE, &x));
	TRY(x.stx_size);
	TRY(syscall(SYS_statx, fd, NULL, AT_EMPTY_PATH, STATX_SIZE, &x));
	TRY(syscall(SYS_statx, AT("file"), AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC, STATX_SIZE, &x));
	TRY(syscall(SYS_statx, AT("file"), 0x10000, STATX_SIZE, &x));
	TRY(syscall(SYS_statx, AT("file"), 0, STATX__RESERVED, &x));
	TRY(syscall(SYS_statx, AT("none"), 0, STATX_SIZE, &x));
	TRY(syscall(SYS_statx, AT("none"), 0x10000, STATX_SIZE, &x));
	close(fd);
}

static void permissions(void)
{
	struct stat s;
	int fd = OPEN(open(P("file"), O_RDONLY | O_CLOEXEC));
	int path = OPEN(open(P("file"), O_PATH | O_CLOEXEC));

	TRY(access(P("file"), F_OK));
	TRY(access(P("file"), R_OK));
	TRY(access(P("file"), W_OK));
	TRY(access(P("file"), X_OK));
	TRY(access(P("file"), 8));
	TRY(access(P("directory"), R_OK | W_OK | X_OK));
	TRY(access(P("none"), F_OK));
	TRY(access(P("none"), W_OK));
	TRY(access(P("fifo"), W_OK));
	TRY(syscall(SYS_faccessat, AT("dangling"), F_OK));
	TRY(syscall(NR_faccessat2, AT("dangling"), F_OK, AT_SYMLINK_NOFOLLOW));
	TRY(syscall(NR_faccessat2, AT("file"), R_OK, AT_EACCESS));
	TRY(syscall(NR_faccessat2, AT("file"), R_OK, 0x10000));
	TRY(syscall(NR_faccessat2, path, "", R_OK, AT_EMPTY_PATH));
	TRY(syscall(NR_faccessat2, path, "", W_OK, AT_EMPTY_PATH));
	TRY(chmod(P("file"), 0600));
	STAT(stat(P("file"), &s));
	TRY(chmod(P("link"), 0640));
	TRY(chmod(P("none"), 0640));
	TRY(chmod(P("file/"), 0640));
	TRY(syscall(SYS_fchmodat, AT("file"), 04755));
	STAT(stat(P("file"), &s));
	TRY(syscall(NR_fchmodat2, AT("link"), 0640, AT_SYMLINK_NOFOLLOW));
	TRY(syscall(NR_fchmodat2, AT("file"), 0604, AT_SYMLINK_NOFOLLOW));
	TRY(syscall(NR_fchmodat2, path, "", 0644, AT_EMPTY_PATH));
	TRY(syscall(NR_fchmodat2, AT("file"), 0640, 0x10000));
	TRY(fchmod(fd, 0644));
	TRY(fchmod(path, 0644));
	TRY(chmod(P("directory"), 0));
	TRY(chmod(P("directory"), 0755));
	TRY(chown(P("file"), (uid_t)-1, (gid_t)-1));
	TRY(chown(P("file"), geteuid(), getegid()));
	TRY(lchown(P("link"), geteuid(), getegid()));
	TRY(chown(P("dangling"), geteuid(), getegid()));
	TRY(lchown(P("dangling"), geteuid(), getegid()));
	TRY(chown(P("none"), geteuid(), getegid()));
	TRY(syscall(SYS_fchownat, AT("file"), geteuid(), getegid(), 0));
	TRY(syscall(SYS_fchownat, AT("file"), geteuid(), getegid(), 0x10000));
	TRY(syscall(SYS_fchownat, path, "", geteuid(), getegid(), AT_EMPTY_PATH));
	TRY(fchown(fd, geteuid(), getegid()));
	TRY(fchown(path, geteuid(), getegid()));
	STAT(stat(P("file"), &s));
	close(fd);
	close(path);
}

static void times(void)
{
	const struct timespec both[2] = {{1000, 5}, {2000, 123456789}};
	const struct timespec omit[2] = {{0, UTIME_OMIT}, {3000, 1}};
	const struct timespec wrong[2] = {{0, 1000000000}, {0, 0}};
	const struct timeval old[2] = {{4000, 1}, {5000, 2}};
	const struct utimbuf oldest = {6000, 7000};
	struct stat s;
	int fd = OPEN(open(P("file"), O_RDONLY | O_CLOEXEC));
	int path = OPEN(open(P("file"), O_PATH | O_CLOEXEC));

	TRY(syscall(SYS_utimensat, AT("file"), both, 0));
	STAT(stat(P("file"), &s));
	TRY(syscall(SYS_utimensat, AT("file"), omit, 0));
	STAT(stat(P("file"), &s));
	TRY(syscall(SYS_utimensat, AT("file"), wrong, 0));
	TRY(syscall(SYS_utimensat, AT("file"), both, 0x10000));
	TRY(syscall(SYS_utimensat, AT("link"), both, AT_SYMLINK_NOFOLLOW));
	TRY(syscall(SYS_utimensat, AT("none"), both, 0));
	TRY(syscall(SYS_utimensat, AT("dangling"), both, AT_SYMLINK_NOFOLLOW));
	TRY(syscall(SYS_utimensat, fd, NULL, both, 0));
	TRY(syscall(SYS_utimensat, fd, "", omit, AT_EMPTY_PATH));
	TRY(syscall(SYS_utimensat, path, NULL, both, 0));
	TRY(syscall(SYS_utimensat, path, "", both, AT_EMPTY_PATH));
	TRY(syscall(SYS_utimensat, -1, NULL, both, 0));
	STAT(stat(P("file"), &s));
	TRY(utimes(P("file"), old));
	STAT(stat(P("file"), &s));
	TRY(utime(P("file"), &oldest));
	STAT(stat(P("file"), &s));
	TRY(futimens(fd, both));
#ifdef SYS_futimesat
	TRY(syscall(SYS_futimesat, AT("file"), old));
	STAT(stat(P("file"), &s));
#endif
	close(fd);
	close(path);
}

static void sizes(void)
{
	struct stat s;

	TRY(truncate(P("file"), 3));
	STAT(stat(P("link"), &s));
	TRY(truncate(P("link"), 5000));
	STAT(stat(P("file"), &s));
	TRY(truncate(P("file"), -1));
	TRY(truncate(P("directory"), 0));
	TRY(truncate(P("none"), 0));
	TRY(truncate(P("fifo"), 0));
	TRY(truncate(P("file/"), 0));
	TRY(truncate(P("file"), 11));
}

static void systems(void)
{
	struct statfs f, g;
	int fd = OPEN(open(P("file"), O_RDONLY | O_CLOEXEC));

	TRY(statfs(P("file"), &f));
	TRY(fstatfs(fd, &g));
	TRY(f.f_type == g.f_type && f.f_blocks == g.f_blocks && !memcmp(&f.f_fsid, &g.f_fsid, sizeof f.f_fsid));
	TRY(f.f_flags == g.f_flags);
	TRY(f.f_namelen);
	TRY((f.f_flags & 1) != 0); /* ST_RDONLY */
	TRY(statfs(P("none"), &f));
	TRY(statfs(P("dangling"), &f));
	close(fd);
}

static void attributes(void)
{
	char text[128] = "";
	int fd = OPEN(open(P("file"), O_RDONLY | O_CLOEXEC));
	struct xattr_args set = {.value = (uintptr_t) "four", .size = 4};
	struct xattr_args get = {.value = (uintptr_t)text, .size = sizeof text};

	TRY(setxattr(P("file"), "user.a", "one", 3, 0));
	TRY(setxattr(P("file"), "user.a", "one", 3, XATTR_CREATE));
	TRY(setxattr(P("file"), "user.b", "one", 3, XATTR_REPLACE));
	TRY(setxattr(P("link"), "user.b", "two", 3, 0));
	TRY(lsetxattr(P("link"), "user.b", "two", 3, 0));
	TRY(fsetxattr(fd, "user.c", "", 0, 0));
	TRY(setxattr(P("none"), "user.a", "one", 3, 0));
	TRY(setxattr(P("file"), "wrong", "one", 3, 0));
	TRY(setxattr(P("fifo"), "user.a", "one", 3, 0));
	TRY(setxattr(P("directory"), "user.a", "dir", 3, 0));
	TRY(getxattr(P("file"), "user.a", text, sizeof text));
	TRY(getxattr(P("file"), "user.a", text, 1));
	TRY(getxattr(P("file"), "user.a", text, 0));
	TRY(getxattr(P("link"), "user.b", text, sizeof text));
	TRY(lgetxattr(P("link"), "user.b", text, sizeof text));
	TRY(fgetxattr(fd, "user.c", text, sizeof text));
	TRY(getxattr(P("file"), "user.none", text, sizeof text));
	TRY(getxattr(P("none"), "user.a", text, sizeof text));
	TRY(listxattr(P("file"), text, sizeof text));
	TRY(listxattr(P("file"), text, 1));
	TRY(llistxattr(P("link"), text, sizeof text));
	TRY(flistxattr(fd, text, sizeof text));
	TRY(listxattr(P("none"), text, sizeof text));
	TRY(removexattr(P("file"), "user.a"));
	TRY(removexattr(P("file"), "user.a"));
	TRY(lremovexattr(P("link"), "user.a"));
	TRY(fremovexattr(fd, "user.c"));
	TRY(removexattr(P("none"), "user.a"));
	TRY(syscall(NR_setxattrat, AT("file"), 0, "user.d", &set, sizeof set));
	TRY(syscall(NR_getxattrat, AT("file"), 0, "user.d", &get, sizeof get));
	TRY(syscall(NR_listxattrat, AT("file"), 0, text, sizeof text));
	TRY(syscall(NR_listxattrat, fd, "", AT_EMPTY_PATH, text, sizeof text));
	TRY(syscall(NR_removexattrat, AT("link"), AT_SYMLINK_NOFOLLOW, "user.d"));
	TRY(syscall(NR_removexattrat, AT("link"), 0, "user.d"));
	TRY(removexattr(P("file"), "user.b"));
	close(fd);
}

/* By handle: to open by one takes rights over the whole file system, and most have none. */
static void handles(void)
{
	struct {
		struct file_handle head;
		char bytes[MAX_HANDLE_SZ];
	} handle = {.head = {.handle_bytes = 0}};
	int mount, fd = OPEN(open(P("file"), O_RDONLY | O_CLOEXEC));

	TRY(name_to_handle_at(AT("file"), &handle.head, &mount, 0));
	handle.head.handle_bytes = MAX_HANDLE_SZ;
	TRY(name_to_handle_at(AT("file"), &handle.head, &mount, 0));
	TRY(name_to_handle_at(fd, "", &handle.head, &mount, AT_EMPTY_PATH));
	TRY(name_to_handle_at(AT("none"), &handle.head, &mount, 0));
	TRY(name_to_handle_at(AT("file"), &handle.head, &mount, 0x10000));
	close(fd);
}

/* The calls as older programs spell them, with structures that we need not know. */
static void old_spellings(void)
{
	char room[512];
	int fd = OPEN(open(P("file"), O_RDONLY | O_CLOEXEC));

	MUST(fd >= 0);
#ifdef SYS_stat
	TRY(syscall(SYS_stat, P("link"), room));
	TRY(syscall(SYS_lstat, P("link"), room));
	TRY(syscall(SYS_fstat, fd, room));
	TRY(syscall(SYS_stat, P("file"), 8L));
	TRY(syscall(SYS_stat, P("none"), 8L));
#endif
#ifdef SYS_stat64
	TRY(syscall(SYS_stat64, P("link"), room));
	TRY(syscall(SYS_lstat64, P("link"), room));
	TRY(syscall(SYS_fstat64, fd, room));
	TRY(syscall(SYS_fstatat64, AT("link"), room, 0));
	TRY(syscall(SYS_statfs64, P("file"), 84L, room));
	TRY(syscall(SYS_statfs64, P("file"), 83L, room));
	TRY(syscall(SYS_fstatfs64, fd, 84L, room));
	TRY(syscall(SYS_truncate64, P("file"), 11L, 0L));
	TRY(syscall(SYS_chown32, P("file"), -1L, -1L));
	TRY(syscall(SYS_lchown32, P("link"), -1L, -1L));
#endif
#ifdef SYS_oldstat
	TRY(syscall(SYS_oldstat, P("link"), room) == 0 || errno == EOVERFLOW);
	TRY(syscall(SYS_oldlstat, P("none"), room));
#endif
#ifdef SYS_open
	SHUT(syscall(SYS_open, P("link"), O_RDONLY));
	SHUT(syscall(SYS_open, P("none"), O_RDONLY));
	SHUT(syscall(SYS_creat, P("old"), 0600));
	TRY(syscall(SYS_access, P("link"), W_OK));
	TRY(syscall(SYS_chmod, P("old"), 0640));
	TRY(syscall(SYS_chown, P("old"), -1L, -1L));
	TRY(syscall(SYS_lchown, P("old"), -1L, -1L));
	TRY(syscall(SYS_link, P("old"), P("older")));
	TRY(syscall(SYS_rename, P("older"), P("oldest")));
	TRY(syscall(SYS_unlink, P("old")));
	TRY(syscall(SYS_symlink, "x", P("old")));
	TRY(syscall(SYS_readlink, P("old"), room, sizeof room));
	TRY(syscall(SYS_unlink, P("old")));
	TRY(syscall(SYS_unlink, P("oldest")));
	TRY(syscall(SYS_mkdir, P("old"), 0700));
	TRY(syscall(SYS_rmdir, P("old")));
	TRY(syscall(SYS_mknod, P("old"), S_IFIFO | 0600, 0));
	TRY(syscall(SYS_unlink, P("old")));
#endif
	close(fd);
}

static void calls(void)
{
	times();
	stats();
	extended();
	permissions();
	sizes();
	systems();
	attributes();
	handles();
	old_spellings();
}

int main(int argc, char **argv) { return battery_run(argc, argv, calls); }
