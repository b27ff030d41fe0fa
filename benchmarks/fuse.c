/* Fuse: what file operations cost in a directory that a FUSE server has.
 *
 * fuse MS DIRECTORY MEGABYTES [NAME]...    prints NAME NUMBER, nanoseconds
 *
 * stat, open and pread (4 KiB) are made for MS milliseconds on DIRECTORY/f, stat_many and open_many on the files of
 * DIRECTORY/many in turn, after a first time that is not measured; of ten parts the median counts.  open_many_first opens
 * each of these once.  write and write_sync write a new file of so many
 * megabytes, once, and close it; the second makes it lasting before. */
#include "timing.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { most_files = 4096, piece = 128 * 1024 };

static char file[4096], written[4096], names[most_files][300], page[4096], data[piece];
static int opened, count, next_file;
static long megabytes;

static void stat_of(const char *path)
{
	struct stat found;

	if (stat(path, &found) != 0)
		give_up(path);
}

static void open_of(const char *path)
{
	int fd = open(path, O_RDONLY);

	if (fd < 0 || close(fd) != 0)
		give_up(path);
}

static void stat_once(void) { stat_of(file); }
static void open_once(void) { open_of(file); }
static void stat_many_once(void) { stat_of(names[next_file++ % count]); }
static void open_many_once(void) { open_of(names[next_file++ % count]); }

static void pread_once(void)
{
	if (pread(opened, page, sizeof page, 0) != (ssize_t)sizeof page)
		give_up("pread");
}

static void write_all(int sync)
{
	int fd = open(written, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (fd < 0)
		give_up(written);
	for (long left = megabytes * 1000000; left > 0; left -= piece)
		if (write(fd, data, left < piece ? (size_t)left : piece) <= 0)
			give_up("write");
	if ((sync && fsync(fd) != 0) || close(fd) != 0)
		give_up(written);
}

static void write_once(void) { write_all(0); }
static void write_sync_once(void) { write_all(1); }

struct operation {
	const char *name;
	void (*once)(void);
	int batch;  /* calls between two looks at the clock; 0: it is made once */
	int is_many; /* it is made once of each file before, and with no batch of each is measured */
};

static const struct operation operations[] = {
	{ "stat", stat_once, 20, 0 },	     { "stat_many", stat_many_once, 20, 1 },
	{ "open", open_once, 10, 0 },	     { "open_many", open_many_once, 10, 1 },
	{ "pread", pread_once, 20, 0 },	     { "open_many_first", open_many_once, 0, 1 },
	{ "write", write_once, 0, 0 },	     { "write_sync", write_sync_once, 0, 0 },
};

static double part_of(const struct operation *operation, double length)
{
	double start = seconds(), taken;
	long made = 0;

	do {
		for (int i = 0; i < operation->batch; i++)
			operation->once();
		made += operation->batch;
		taken = seconds() - start;
	} while (taken < length);
	return taken / (double)made;
}

static void measure(const struct operation *operation, double length)
{
	double taken[parts], start = seconds();

	for (int i = 0; operation->is_many && i < count; i++)
		operation->once();
	if (!operation->batch && operation->is_many) {
		taken[0] = (seconds() - start) / count;
	} else if (!operation->batch) {
		operation->once();
		taken[0] = seconds() - start;
		if (unlink(written) != 0)
			give_up(written);
	}
	for (int part = 0; operation->batch && part < parts; part++)
		taken[part] = part_of(operation, length / parts);
	printf("%s %.1f\n", operation->name, (operation->batch ? median(taken, parts) : taken[0]) * 1e9);
	fflush(stdout);
}

static void find_files(const char *directory)
{
	char many[4096];
	struct dirent *entry;

	snprintf(many, sizeof many, "%s/many", directory);
	DIR *listing = opendir(many);
	if (!listing)
		give_up(many);
	while ((entry = readdir(listing)) != NULL && count < most_files)
		if (entry->d_name[0] != '.')
			snprintf(names[count++], sizeof names[0], "%.200s/%.90s", many, entry->d_name);
	closedir(listing);
}

int main(int argc, char **argv)
{
	if (argc < 5)
		return 2;
	megabytes = atol(argv[3]);
	memset(data, 'x', sizeof data);
	snprintf(file, sizeof file, "%s/f", argv[2]);
	snprintf(written, sizeof written, "%s/written", argv[2]);
	for (int i = 4; i < argc && !count; i++)
		if (strstr(argv[i], "_many"))
			find_files(argv[2]); /* not for the others: VUOS does not always live through the listing */
	opened = open(file, O_RDONLY);
	if (opened < 0)
		give_up(file);
	for (int i = 4; i < argc; i++)
		for (size_t k = 0; k < sizeof operations / sizeof *operations; k++)
			if (strcmp(argv[i], operations[k].name) == 0)
				measure(&operations[k], atof(argv[1]) / 1e3);
	return 0;
}
