/* decide_owned.c - what a mount remembers of its files (`diorama.view.owning`).
 *
 * The note of a file or directory is an extended attribute of it: "UID GID MODE", then "cMAJOR:MINOR" or "bMAJOR:MINOR"
 * for what stands for a device, and "a" for what has an access control list, which only Python reads.  Without a
 * note it is as the host has it, where our own user stands for root.  Of what can have no attributes there may be
 * notes elsewhere, which only Python reads. */
#include "deciding.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

static const char LISTED[] = " a";
enum { NOTE_ROOM = 128, BITS = 07777 };

static const char NOTE[] = "user.overlay.diorama.owner";
/* Of a directory: there may be what stands for devices in it. */
static const char DEVICES[] = "user.overlay.diorama.devices";

/* The length of a note, 0 if there is none, or -1. */
static ssize_t note_read(const char *link, char text[NOTE_ROOM]) {
    ssize_t n = getxattr(link, NOTE, text, NOTE_ROOM - 1);
    if (n < 0)
        return errno == ENODATA || errno == EOPNOTSUPP || errno == EACCES || errno == EPERM ? 0 : -1;
    text[n] = 0;
    return n;
}

static int note_number(char **at, int base, unsigned long *out) {
    char *end;
    *out = strtoul(*at, &end, base);
    if (end == *at || (*end && *end != ' ' && *end != ':'))
        return -1;
    *at = *end ? end + 1 : end;
    return 0;
}

static int note_device(char *at, struct stat *status) {
    unsigned long major_number, minor_number;
    mode_t kind = *at == 'c' ? S_IFCHR : S_IFBLK;
    if ((*at != 'c' && *at != 'b'))
        return 0; /* another word */
    at++;
    if (note_number(&at, 10, &major_number) || note_number(&at, 10, &minor_number))
        return -1;
    status->st_mode = kind | (status->st_mode & BITS);
    status->st_rdev = makedev((unsigned)major_number, (unsigned)minor_number);
    return 0;
}

static int note_apply(char *text, struct stat *status) {
    unsigned long uid, gid, mode;
    char *at = text;
    if (note_number(&at, 10, &uid) || note_number(&at, 10, &gid) || note_number(&at, 8, &mode))
        return -1;
    status->st_uid = (uid_t)uid;
    status->st_gid = (gid_t)gid;
    status->st_mode = (status->st_mode & S_IFMT) | (mode & BITS);
    return note_device(at, status);
}

static int is_noted(const struct stat *status) { return S_ISREG(status->st_mode) || S_ISDIR(status->st_mode); }

/* What is to be seen of a file; its note, if it has one, stays in `text`. */
static int owned_look(const struct mounted *m, const char *link, struct stat *status, char text[NOTE_ROOM]) {
    text[0] = 0;
    if (m->owned == DIO_OWNED_ASKED || (!is_noted(status) && m->notes && !access(m->notes, F_OK)))
        return -1;
    ssize_t n = is_noted(status) ? note_read(link, text) : 0;
    if (n < 0)
        return -1;
    if (n)
        return note_apply(text, status);
    if (status->st_uid == geteuid())
        status->st_uid = 0;
    if (status->st_gid == getegid())
        status->st_gid = 0;
    return 0;
}

int owned_show(const struct mounted *m, const char *link, struct stat *status) {
    char text[NOTE_ROOM];
    return owned_look(m, link, status, text);
}

int owned_has_note(const struct mounted *m, const char *link) {
    char text[NOTE_ROOM];
    return m->owned == DIO_OWNED_ASKED || note_read(link, text) != 0;
}

int owner_show(const struct dio_decider *d, const struct mounted *m, const char *link, struct stat *status) {
    if (m && m->owned)
        return owned_show(m, link, status);
    if (d->mapping.is_set && status->st_uid == d->mapping.host_uid)
        status->st_uid = d->mapping.uid;
    if (d->mapping.is_set && status->st_gid == d->mapping.host_gid)
        status->st_gid = d->mapping.gid;
    return 0;
}

void dio_decider_map(struct dio_decider *d, uint32_t host_uid, uint32_t uid, uint32_t host_gid, uint32_t gid) {
    d->mapping = (struct mapping){1, host_uid, uid, host_gid, gid};
}

int owned_lets_all(const struct mounted *m, const char *link, mode_t bits) {
    struct stat status;
    char text[NOTE_ROOM];
    mode_t all = bits << 6 | bits << 3 | bits;
    if (stat(link, &status) || owned_look(m, link, &status, text) || (status.st_mode & all) != all)
        return 0;
    return !strstr(text, LISTED);
}

/* ---- verdicts ---- */

/* Whether what the process may do in mounts that remember who owns what is for Python to say. */
int owner_is_checked(const struct deciding *d) {
    if (!d->table->has_owned)
        return 0;
    if (d->process.checked == DIO_CHECKED_AS_ALL)
        return d->table->flags & DIO_DECIDE_CHECKED;
    return d->process.checked == DIO_CHECKED_YES;
}

/* Whether the owner of any file of the host is told in another way than the kernel does. */
int owner_is_shown(const struct deciding *d) {
    return d->decider->mapping.is_set && (d->decision->op == DIO_DO_STAT || d->decision->op == DIO_DO_STATX);
}

/* The mount that remembers of an open file, or NULL; -1 if that cannot be told. */
static int owned_find(const struct deciding *d, const char *name, const struct stat *status,
                      const struct mounted **out) {
    char text[PLACE_ROOM];
    int32_t mount = decider_opened_through(d->decider, d->asked->tid, status);
    *out = NULL;
    if (mount == OPENED_UNSURE || (mount > 0 && (size_t)mount >= d->table->mount_count))
        return -1;
    if (mount > 0)
        *out = &d->table->mounts[mount];
    else if (base_of(d)->owned && link_read(name, text) && is_below(text, base_of(d)->host, base_of(d)->host_length))
        *out = base_of(d);
    if (*out && !(*out)->owned)
        *out = NULL;
    return 0;
}

/* What is asked of an open file that may be in a mount that remembers. */
enum part owner_decide(const struct deciding *d, const char *name, const struct stat *status) {
    const struct mounted *m;
    if (owned_find(d, name, status, &m))
        return PART_ASK;
    if (d->decision->needs & DIO_NEEDS_UNCHANGED)
        return m && (m->owned == DIO_OWNED_ASKED || getxattr(name, DEVICES, NULL, 0) >= 0) ? PART_ASK : PART_RUN;
    if (!m && !owner_is_shown(d))
        return PART_RUN;
    if (d->decision->op == DIO_DO_STAT || d->decision->op == DIO_DO_STATX)
        decide_show(d->decider, d->decision, d->asked, m, name, d->out);
    return PART_ASK;
}

/* Whether who owns an open file matters. */
int owner_matters(const struct deciding *d) {
    int shows = d->decision->op == DIO_DO_STAT || d->decision->op == DIO_DO_STATX || d->decision->op == DIO_DO_ACCESS;
    int enters = d->decision->needs & DIO_NEEDS_NOT_OPENED && owner_is_checked(d);
    return owner_is_shown(d) || (d->table->has_owned && (shows || enters || d->decision->needs & DIO_NEEDS_UNCHANGED));
}
