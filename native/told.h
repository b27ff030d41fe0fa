/* told.h - looking up what file systems have told. */
#ifndef DIORAMA_TOLD_H
#define DIORAMA_TOLD_H

#include "decide.h"

/* One reference more, which `dio_told_free` gives back; NULL stays NULL. */
struct dio_told *told_take(struct dio_told *told);
/* Whether nothing has come from the file system that Python has not seen yet. */
int told_holds(struct dio_told *told);
/* Whether it is known what a name leads to: `inode`, 0 if there is no such name. */
int told_name(struct dio_told *told, uint64_t directory, const char *name, size_t length, uint64_t *inode);
/* Whether the attributes of an inode are known. */
int told_node(struct dio_told *told, uint64_t inode, struct dio_told_node *out);

#endif
