/* A file layer that loses power, loaded into a process with LD_PRELOAD.
 *
 * Beside the live directory it keeps a store of what would be there if the power went now: the bytes of
 * each file as of its last sync, the names of each directory as of its last sync, and nothing else. The
 * harness ends the process with SIGKILL, makes a directory of the store, and puts that in the place of the
 * live one.
 *
 *   POWER_LIVE     the live directory, as an absolute path without links; only what lies in it is watched
 *   POWER_STORE    an empty directory; filled from the live one when the process starts (what is there
 *                  then counts as durable), unless an earlier process has begun to use it
 *   POWER_CONTROL  a file of rules, see rules.c; need not be there; read again whenever it is another one
 *   POWER_MET      where each time that a rule applied is noted, one a line
 *
 * The store:
 *
 *   f-ID    the durable bytes of a file
 *   d-ID    the durable names of a directory, a line each: `f ID name` or `d ID name`
 *   root    the ID of the live directory; written last, so that a store without it has no meaning
 *
 * An ID is an inode's number and time of birth, so it survives renames, and a number used again is another
 * ID. Files named nowhere in the store are of no account. A SIGKILL at any moment leaves a state that a
 * power failure could have left: a file in the middle of being copied is one whose sync has not returned,
 * so any part of what was written since the one before may be there; a list of names is replaced as a whole.
 *
 * What the layer does not know it refuses by ending the process: files mapped for shared writing, files
 * opened for synchronous writing, syncfs. A write that goes past libc is not seen, and so never durable.
 */
#ifndef POWER_LAYER_H
#define POWER_LAYER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Only what stands in front of libc's functions is to be found from outside. */
#pragma GCC visibility push(hidden)

/* What a rule can be about. */
enum operation { SYNC = 1, WRITE = 2, CREATE = 4, READ = 8 };

/* What a rule can do. */
enum action { NOTHING, DROP, QUICK, FAIL };

/* What is to become of an operation. */
struct verdict {
    enum action action;
    int error; /* when it is to fail */
};

/* A regular file inside the live directory. They are never freed: there are few, and threads hold them. */
struct file;

/* store.c */

/* The file behind a descriptor; NULL for everything that is not watched. */
struct file *store_file(int descriptor);

/* Whether a path, as given to a call, leads into the live directory; then how it goes on there, from `/`. */
bool store_inside(int directory, const char *path, char inside[4096]);

/* The same for a descriptor. */
bool store_path(int descriptor, char inside[4096]);

/* Bytes from `from` to `to` were written. */
void store_wrote(struct file *file, off_t from, off_t to);

/* Bytes were written in front of the descriptor's position. Between these two the position is nobody
 * else's. */
void store_lock_position(struct file *file);
void store_unlock_position(struct file *file);

/* The file was cut to that size. */
void store_cut(struct file *file, off_t size);

/* What was written into it since its last sync is durable now. */
void store_sync(struct file *file, int descriptor);

/* What was written into it since its last sync will never be: as after a failed sync, when the kernel holds
 * pages that differ from the disk for clean. */
void store_forget(struct file *file);

/* The names in that directory are durable now. */
void store_sync_names(int descriptor);

/* Held while names change, so that no list of names is taken in the middle of a rename. */
void store_lock_names(void);
void store_unlock_names(void);

/* rules.c */

/* What the rules say about an operation on what lies at that path. Waits as long as they say `stall`. */
struct verdict rules_verdict(enum operation operation, const char *inside);

/* Whether there are any rules now: without them nobody needs to find out a path. */
bool rules_any(void);

/* Ends the process, saying why: a layer that goes on with an error proves nothing. */
_Noreturn void layer_die(const char *what);

#pragma GCC visibility pop

#endif
