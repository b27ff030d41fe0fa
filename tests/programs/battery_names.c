/* Battery of names: making, linking, renaming and removing files and directories. */
#include "battery.h"

#include <linux/fs.h>
#include <sys/sysmacros.h>

static char long_name[257];

static void making(void)
{
	TRY(syscall(SYS_mkdirat, AT("d"), 0777));
	TRY(syscall(SYS_mkdirat, AT("d"), 0777));
	TRY(mkdir(P("e/"), 0700));
	TRY(mkdir(P("none/e"), 0700));
	TRY(mkdir(P("."), 0700));
	TRY(mkdir(P("d/.."), 0700));
	TRY(mkdir(P(long_name), 0700));
	TRY(mkdir(P(long_name + 1), 0700));
	TRY(rmdir(P(long_name + 1)));
	SHUT(creat(P("f"), 0644));
	SHUT(open(P("f"), O_WRONLY | O_CREAT | O_EXCL, 0644));
	SHUT(open(P("g/"), O_WRONLY | O_CREAT, 0644));
	SHUT(open(P("d"), O_WRONLY | O_CREAT, 0644));
	SHUT(open(P("d"), O_RDONLY | O_CREAT, 0644));
	SHUT(open(P("d"), O_RDONLY | O_CREAT | O_DIRECTORY, 0644));
	SHUT(open(P("f/x"), O_WRONLY | O_CREAT, 0644));
	SHUT(open(P("none/x"), O_WRONLY | O_CREAT, 0644));
	SHUT(syscall(SYS_openat, AT("h"), O_WRONLY | O_CREAT, 0600));
	TRY(mkdir(P("f/x"), 0700));
	TRY(mkdir(P("f/"), 0700));
	TRY(syscall(SYS_mknodat, AT("fifo"), S_IFIFO | 0644, 0));
	TRY(syscall(SYS_mknodat, AT("fifo"), S_IFIFO | 0644, 0));
	TRY(mknod(P("fifo2"), S_IFIFO | 0644, 0));
	TRY(mknod(P("fifo3/"), S_IFIFO | 0644, 0));
	TRY(mknod(P("regular"), S_IFREG | 0644, 0));
	TRY(mknod(P("plain"), 0644, 0));
	TRY(mknod(P("socket"), S_IFSOCK | 0644, 0));
	TRY(mknod(P("directory"), S_IFDIR | 0644, 0));
	TRY(mknod(P("link"), S_IFLNK | 0644, 0));
	TRY(mknod(P("d"), S_IFIFO | 0644, 0));
}

static void symlinks(void)
{
	char text[64] = "";

	TRY(syscall(SYS_symlinkat, "f", AT("s")));
	TRY(symlink("f", P("s")));
	TRY(symlink("none", P("dangling")));
	TRY(symlink("loop", P("loop")));
	TRY(symlink("d", P("sd")));
	TRY(symlink("f", P("s2/")));
	TRY(symlink("", P("s3")));
	TRY(symlink("f", P("d")));
	TRY(symlink("f", P("none/s")));
	TRY(syscall(SYS_readlinkat, AT("s"), text, sizeof text));
	say("s", text);
	TRY(readlink(P("dangling"), text, 2));
	TRY(readlink(P("f"), text, sizeof text));
	TRY(readlink(P("d"), text, sizeof text));
	TRY(readlink(P("sd/"), text, sizeof text));
	TRY(readlink(P("none"), text, sizeof text));
	TRY(readlink(P("s/x"), text, sizeof text));
	TRY(syscall(SYS_readlinkat, AT("s"), text, 0));
	TRY(mkdir(P("dangling"), 0755));
	TRY(mkdir(P("dangling/"), 0755));
	SHUT(open(P("dangling"), O_WRONLY | O_CREAT | O_EXCL, 0644));
	SHUT(open(P("dangling"), O_WRONLY | O_CREAT | O_NOFOLLOW, 0644));
	SHUT(open(P("dangling"), O_WRONLY | O_CREAT, 0644));
	TRY(unlink(P("none")));
	SHUT(open(P("loop"), O_RDONLY));
	SHUT(open(P("loop"), O_RDONLY | O_NOFOLLOW));
	SHUT(open(P("loop"), O_PATH | O_NOFOLLOW));
	SHUT(open(P("sd"), O_RDONLY | O_NOFOLLOW));
	SHUT(open(P("sd/"), O_RDONLY | O_NOFOLLOW));
	SHUT(open(P("sd"), O_RDONLY | O_NOFOLLOW | O_DIRECTORY));
	TRY(unlink(P("sd/")));
	TRY(rmdir(P("sd")));
	TRY(rmdir(P("sd/")));
}

static void links(void)
{
	int fd = open(P("file"), O_RDONLY | O_CLOEXEC);
	int path = open(P("link"), O_PATH | O_NOFOLLOW | O_CLOEXEC);
	char proc[64];

	MUST(fd >= 0 && path >= 0);
	TRY(syscall(SYS_linkat, AT("f"), AT("l1"), 0));
	TRY(link(P("f"), P("l1")));
	TRY(link(P("f"), P("d/l2")));
	TRY(link(P("d"), P("dl")));
	TRY(link(P("none"), P("l3")));
	TRY(link(P("f"), P("l3/")));
	TRY(link(P("f/"), P("l3")));
	TRY(link(P("s"), P("ls")));
	TRY(syscall(SYS_linkat, AT("s"), AT("lf"), AT_SYMLINK_FOLLOW));
	TRY(syscall(SYS_linkat, AT("dangling"), AT("ld"), AT_SYMLINK_FOLLOW));
	TRY(syscall(SYS_linkat, AT("f"), AT("l4"), 0x8000));
	TRY(link(P("f"), OTHER("crossed")));
	TRY(link(OTHER("file"), P("crossed")));
	TRY(link(P("f"), P(long_name)));
	snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
	TRY(syscall(SYS_linkat, AT_FDCWD, proc, AT("by_proc"), AT_SYMLINK_FOLLOW));
	TRY(syscall(SYS_linkat, AT_FDCWD, proc, AT("by_proc2"), 0));
	TRY(syscall(SYS_linkat, fd, "", AT("by_empty"), AT_EMPTY_PATH));
	TRY(syscall(SYS_linkat, path, "", AT("by_path"), AT_EMPTY_PATH));
	close(fd);
	close(path);
}

static void renames(void)
{
	TRY(syscall(SYS_renameat, AT("f"), AT("f2")));
	TRY(rename(P("f2"), P("f")));
	TRY(rename(P("f"), P("f")));
	TRY(rename(P("f"), P("l1")));
	TRY(rename(P("f"), P("d")));
	TRY(rename(P("d"), P("f")));
	TRY(rename(P("d"), P("d/sub")));
	TRY(rename(P("d"), P("e")));
	TRY(rename(P("e"), P("d")));
	TRY(rename(P("d/"), P("e/")));
	TRY(rename(P("e"), P("d/")));
	TRY(rename(P("f/"), P("g")));
	TRY(rename(P("f"), P("g/")));
	TRY(rename(P("none"), P("g")));
	TRY(rename(P("f"), P("none/g")));
	TRY(rename(P("."), P("g")));
	TRY(rename(P("d/.."), P("g")));
	TRY(rename(P("d"), P(".")));
	TRY(rename(P("s"), P("s4")));
	TRY(rename(P("s4"), P("s")));
	TRY(rename(P("sd/"), P("sd2")));
	TRY(syscall(SYS_renameat2, AT("f"), AT("d"), RENAME_NOREPLACE));
	TRY(syscall(SYS_renameat2, AT("f"), AT("moved"), RENAME_NOREPLACE));
	TRY(syscall(SYS_renameat2, AT("moved"), AT("d"), RENAME_EXCHANGE));
	TRY(syscall(SYS_renameat2, AT("moved"), AT("d"), RENAME_EXCHANGE));
	TRY(syscall(SYS_renameat2, AT("moved"), AT("none"), RENAME_EXCHANGE));
	TRY(syscall(SYS_renameat2, AT("moved"), AT("h"), RENAME_EXCHANGE | RENAME_NOREPLACE));
	TRY(syscall(SYS_renameat2, AT("moved"), AT("h"), 0x80));
	TRY(rename(P("moved"), P("f")));
	TRY(rename(P("f"), OTHER("crossed")));
	TRY(rename(OTHER("file"), P("crossed")));
	TRY(rename(P("d"), OTHER("crossed")));
	TRY(rename(P("none"), OTHER("crossed")));
	TRY(rename(P("f"), P(long_name)));
	TRY(syscall(SYS_renameat2, AT_FDCWD, P("f"), AT_FDCWD, OTHER("file"), RENAME_EXCHANGE));
	TRY(syscall(SYS_renameat2, AT_FDCWD, P("f"), AT_FDCWD, OTHER("file"), RENAME_NOREPLACE));
}

static void removing(void)
{
	TRY(unlink(P("d")));
	TRY(rmdir(P("f")));
	TRY(rmdir(P("d")));
	TRY(unlink(P("d/l2")));
	TRY(rmdir(P("d/.")));
	TRY(rmdir(P("d/..")));
	TRY(rmdir(P(".")));
	TRY(unlink(P(".")));
	TRY(unlink(P("f/")));
	TRY(unlink(P("none")));
	TRY(unlink(P("none/x")));
	TRY(rmdir(P("none")));
	TRY(syscall(SYS_unlinkat, AT("f"), AT_REMOVEDIR));
	TRY(syscall(SYS_unlinkat, AT("f"), AT_REMOVEDIR | 1));
	TRY(syscall(SYS_unlinkat, AT("f"), 0));
	TRY(unlink(P("fifo")));
	TRY(unlink(P("s")));
	TRY(unlink(P("s/")));
	TRY(unlink(P(long_name)));
	TRY(rmdir(P("d")));
	TRY(rmdir(P("e")));
	TRY(rmdir(P("directory")));
	TRY(unlink(P("link_to_directory")));
	TRY(rename(P("file"), P("hard")));
	TRY(rename(P("script"), P("file")));
	TRY(rename(P("hard"), P("directory")));
	TRY(link(P("file"), P("script")));
	TRY(link(P("file"), P("new")));
	TRY(syscall(SYS_renameat2, AT("file"), AT("script"), RENAME_EXCHANGE));
	TRY(syscall(SYS_renameat2, AT("file"), AT("script"), RENAME_NOREPLACE));
	TRY(symlink("new", P("file")));
	TRY(mkdir(P("file"), 0755));
	TRY(unlink(P("file")));
	TRY(unlink(P("script")));
}

/* The directory itself, which is a mount point. */
static void the_top(void)
{
	TRY(rmdir(battery.top));
	TRY(unlink(battery.top));
	TRY(rename(battery.top, OTHER("moved")));
	TRY(rename(OTHER("directory"), battery.top));
	TRY(mkdir(battery.top, 0755));
	TRY(symlink("x", battery.top));
	TRY(link(OTHER("file"), battery.top));
	TRY(mknod(battery.top, S_IFIFO | 0644, 0));
	TRY(syscall(SYS_renameat2, AT_FDCWD, battery.top, AT_FDCWD, OTHER("directory"), RENAME_EXCHANGE));
	TRY(rename(P("h"), battery.top));
	TRY(rmdir(join(battery.top, "/..", "")));
	TRY(rmdir(join(battery.top, "/.", "")));
	TRY(rename(battery.top, P("h")));
}

static void calls(void)
{
	memset(long_name, 'n', sizeof long_name - 1);
	unlink(OTHER("crossed"));
	making();
	symlinks();
	links();
	renames();
	removing();
	the_top();
}

int main(int argc, char **argv) { return battery_run(argc, argv, calls); }
