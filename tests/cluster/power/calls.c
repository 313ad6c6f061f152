/* The functions that stand in front of libc's. See layer.h.
 *
 * None of them keeps a table of descriptors: what a descriptor is, the kernel is asked each time, so that
 * nothing can go out of step. Reading is left alone. */
#define _GNU_SOURCE
#include "layer.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define FOR_EVER ((off_t)INT64_MAX)

/* The function that would have been called. */
#define REAL(name) ((__typeof__(&name))real(&(static_##name), #name))
#define STAND_BEFORE(name) static void *static_##name

static void *real(void **found, const char *name) {
    void *function = __atomic_load_n(found, __ATOMIC_ACQUIRE);
    if (function == NULL) {
        function = dlsym(RTLD_NEXT, name);
        if (function == NULL)
            layer_die(name);
        __atomic_store_n(found, function, __ATOMIC_RELEASE);
    }
    return function;
}

/* What the rules say of something that is done with a descriptor. */
static struct verdict verdict_on(enum operation operation, int descriptor) {
    char inside[4096];
    struct verdict nothing = {NOTHING, 0};
    return rules_any() && store_path(descriptor, inside) ? rules_verdict(operation, inside) : nothing;
}

/* Whether a write is to fail; then errno says how. */
static bool write_fails(struct file *file, int descriptor) {
    struct verdict verdict = {NOTHING, 0};
    if (file != NULL)
        verdict = verdict_on(WRITE, descriptor);
    if (verdict.action == FAIL)
        errno = verdict.error;
    return verdict.action == FAIL;
}

/* Whether something new is to fail; then errno says how. */
static bool create_fails(int directory, const char *path) {
    char inside[4096];
    struct verdict verdict = {NOTHING, 0};
    if (rules_any() && store_inside(directory, path, inside))
        verdict = rules_verdict(CREATE, inside);
    if (verdict.action == FAIL)
        errno = verdict.error;
    return verdict.action == FAIL;
}

/* Syncs. */

STAND_BEFORE(fsync);
STAND_BEFORE(fdatasync);

static int synced(int descriptor, bool data_only) {
    struct stat facts;
    char inside[4096];
    bool directory = fstat(descriptor, &facts) == 0 && S_ISDIR(facts.st_mode) && store_path(descriptor, inside);
    struct file *file = directory ? NULL : store_file(descriptor);
    if (!directory && file == NULL)
        return data_only ? REAL(fdatasync)(descriptor) : REAL(fsync)(descriptor);
    struct verdict verdict = verdict_on(SYNC, descriptor);
    if (verdict.action == DROP)
        return 0;
    if (verdict.action == FAIL) {
        if (file != NULL)
            store_forget(file);
        errno = verdict.error;
        return -1;
    }
    /* The real one, too: it takes the time that a sync takes, in which the process may die. */
    bool quick = verdict.action == QUICK;
    if (!quick && (data_only ? REAL(fdatasync)(descriptor) : REAL(fsync)(descriptor)) != 0)
        return -1;
    if (directory)
        store_sync_names(descriptor);
    else
        store_sync(file, descriptor);
    return 0;
}

int fsync(int descriptor) { return synced(descriptor, false); }

int fdatasync(int descriptor) { return synced(descriptor, true); }

int syncfs(int descriptor) {
    (void)descriptor;
    layer_die("syncfs is not known here");
}

/* Reads at an offset. */

STAND_BEFORE(pread);

ssize_t pread(int descriptor, void *bytes, size_t length, off_t offset) {
    char inside[4096], place[4200];
    if (rules_any() && store_file(descriptor) != NULL && store_path(descriptor, inside)) {
        snprintf(place, sizeof place, "%s@%012lld", inside, (long long)offset);
        struct verdict verdict = rules_verdict(READ, place);
        if (verdict.action == FAIL) {
            errno = verdict.error;
            return -1;
        }
    }
    return REAL(pread)(descriptor, bytes, length, offset);
}

ssize_t pread64(int, void *, size_t, off_t) __attribute__((alias("pread")));

/* Writes at an offset. */

STAND_BEFORE(pwrite);
STAND_BEFORE(pwritev);
STAND_BEFORE(pwritev2);

ssize_t pwrite(int descriptor, const void *bytes, size_t length, off_t offset) {
    struct file *file = store_file(descriptor);
    if (write_fails(file, descriptor))
        return -1;
    ssize_t wrote = REAL(pwrite)(descriptor, bytes, length, offset);
    if (file != NULL && wrote > 0)
        store_wrote(file, offset, offset + wrote);
    return wrote;
}

ssize_t pwrite64(int, const void *, size_t, off_t) __attribute__((alias("pwrite")));

ssize_t pwritev(int descriptor, const struct iovec *parts, int count, off_t offset) {
    struct file *file = store_file(descriptor);
    if (write_fails(file, descriptor))
        return -1;
    ssize_t wrote = REAL(pwritev)(descriptor, parts, count, offset);
    if (file != NULL && wrote > 0)
        store_wrote(file, offset, offset + wrote);
    return wrote;
}

ssize_t pwritev64(int, const struct iovec *, int, off_t) __attribute__((alias("pwritev")));

ssize_t pwritev2(int descriptor, const struct iovec *parts, int count, off_t offset, int flags) {
    struct file *file = store_file(descriptor);
    if (file != NULL && (flags & (RWF_DSYNC | RWF_SYNC)) != 0)
        layer_die("synchronous writes are not known here");
    if (write_fails(file, descriptor))
        return -1;
    ssize_t wrote = REAL(pwritev2)(descriptor, parts, count, offset, flags);
    if (file != NULL && wrote > 0)
        store_wrote(file, offset < 0 ? 0 : offset, offset < 0 ? FOR_EVER : offset + wrote);
    return wrote;
}

ssize_t pwritev64v2(int, const struct iovec *, int, off_t, int) __attribute__((alias("pwritev2")));

/* Writes where the descriptor stands. */

STAND_BEFORE(write);
STAND_BEFORE(writev);

static ssize_t advanced(struct file *file, int descriptor, ssize_t wrote) {
    if (wrote > 0) {
        off_t end = lseek(descriptor, 0, SEEK_CUR);
        store_wrote(file, end - wrote, end);
    }
    return wrote;
}

ssize_t write(int descriptor, const void *bytes, size_t length) {
    struct file *file = store_file(descriptor);
    if (file == NULL)
        return REAL(write)(descriptor, bytes, length);
    if (write_fails(file, descriptor))
        return -1;
    store_lock_position(file);
    ssize_t wrote = advanced(file, descriptor, REAL(write)(descriptor, bytes, length));
    store_unlock_position(file);
    return wrote;
}

ssize_t writev(int descriptor, const struct iovec *parts, int count) {
    struct file *file = store_file(descriptor);
    if (file == NULL)
        return REAL(writev)(descriptor, parts, count);
    if (write_fails(file, descriptor))
        return -1;
    store_lock_position(file);
    ssize_t wrote = advanced(file, descriptor, REAL(writev)(descriptor, parts, count));
    store_unlock_position(file);
    return wrote;
}

/* Writes that the kernel makes by itself: where does not matter, a little too much may be copied. */

STAND_BEFORE(copy_file_range);
STAND_BEFORE(sendfile);
STAND_BEFORE(splice);
STAND_BEFORE(mmap);

static ssize_t somewhere(struct file *file, ssize_t wrote) {
    if (file != NULL && wrote > 0)
        store_wrote(file, 0, FOR_EVER);
    return wrote;
}

ssize_t copy_file_range(int from, off_t *from_offset, int to, off_t *to_offset, size_t length, unsigned flags) {
    struct file *file = store_file(to);
    if (write_fails(file, to))
        return -1;
    return somewhere(file, REAL(copy_file_range)(from, from_offset, to, to_offset, length, flags));
}

ssize_t sendfile(int to, int from, off_t *offset, size_t length) {
    struct file *file = store_file(to);
    if (write_fails(file, to))
        return -1;
    return somewhere(file, REAL(sendfile)(to, from, offset, length));
}

ssize_t sendfile64(int, int, off_t *, size_t) __attribute__((alias("sendfile")));

ssize_t splice(int from, off_t *from_offset, int to, off_t *to_offset, size_t length, unsigned flags) {
    struct file *file = store_file(to);
    if (write_fails(file, to))
        return -1;
    return somewhere(file, REAL(splice)(from, from_offset, to, to_offset, length, flags));
}

void *mmap(void *address, size_t length, int protection, int flags, int descriptor, off_t offset) {
    bool writes = descriptor >= 0 && (flags & MAP_SHARED) != 0 && (protection & PROT_WRITE) != 0;
    if (writes && store_file(descriptor) != NULL)
        layer_die("writing through shared memory is not known here");
    return REAL(mmap)(address, length, protection, flags, descriptor, offset);
}

void *mmap64(void *, size_t, int, int, int, off_t) __attribute__((alias("mmap")));

/* Sizes and room. A size becomes durable with the next sync, so growing needs no note. */

STAND_BEFORE(ftruncate);
STAND_BEFORE(fallocate);
STAND_BEFORE(posix_fallocate);

int ftruncate(int descriptor, off_t size) {
    struct file *file = store_file(descriptor);
    int done = REAL(ftruncate)(descriptor, size);
    if (file != NULL && done == 0)
        store_cut(file, size);
    return done;
}

int ftruncate64(int, off_t) __attribute__((alias("ftruncate")));

int fallocate(int descriptor, int mode, off_t offset, off_t length) {
    struct file *file = store_file(descriptor);
    if (write_fails(file, descriptor))
        return -1;
    int done = REAL(fallocate)(descriptor, mode, offset, length);
    bool changes_bytes = (mode & ~FALLOC_FL_KEEP_SIZE) != 0;
    if (file != NULL && done == 0 && changes_bytes)
        store_wrote(file, 0, FOR_EVER);
    return done;
}

int fallocate64(int, int, off_t, off_t) __attribute__((alias("fallocate")));

int posix_fallocate(int descriptor, off_t offset, off_t length) {
    struct file *file = store_file(descriptor);
    if (write_fails(file, descriptor))
        return errno;
    return REAL(posix_fallocate)(descriptor, offset, length);
}

int posix_fallocate64(int, off_t, off_t) __attribute__((alias("posix_fallocate")));

/* Names. They become durable when their directory is synced, so it is enough that none changes while a
 * list of them is taken. */

STAND_BEFORE(openat);
STAND_BEFORE(rename);
STAND_BEFORE(renameat);
STAND_BEFORE(renameat2);
STAND_BEFORE(link);
STAND_BEFORE(linkat);
STAND_BEFORE(mkdir);
STAND_BEFORE(mkdirat);
STAND_BEFORE(unlink);
STAND_BEFORE(unlinkat);
STAND_BEFORE(rmdir);
STAND_BEFORE(remove);

static int opened(int directory, const char *path, int flags, mode_t mode) {
    char inside[4096];
    bool changes = (flags & (O_CREAT | O_TRUNC | O_SYNC | O_DSYNC)) != 0;
    if (!changes || !store_inside(directory, path, inside))
        return REAL(openat)(directory, path, flags, mode);
    if ((flags & (O_SYNC | O_DSYNC)) != 0)
        layer_die("synchronous writes are not known here");
    bool makes = (flags & O_CREAT) != 0 && faccessat(directory, path, F_OK, 0) != 0;
    if (makes && create_fails(directory, path))
        return -1;
    store_lock_names();
    int descriptor = REAL(openat)(directory, path, flags, mode);
    int error = errno;
    store_unlock_names();
    struct file *file = descriptor >= 0 && (flags & O_TRUNC) != 0 ? store_file(descriptor) : NULL;
    if (file != NULL)
        store_cut(file, 0);
    errno = error;
    return descriptor;
}

#define MODE_OF(flags)                                                                                       \
    ({                                                                                                       \
        mode_t given = 0;                                                                                    \
        if (((flags) & O_CREAT) != 0 || ((flags) & O_TMPFILE) == O_TMPFILE) {                                \
            va_list more;                                                                                    \
            va_start(more, flags);                                                                           \
            given = va_arg(more, mode_t);                                                                    \
            va_end(more);                                                                                    \
        }                                                                                                    \
        given;                                                                                               \
    })

int open(const char *path, int flags, ...) { return opened(AT_FDCWD, path, flags, MODE_OF(flags)); }

int open64(const char *, int, ...) __attribute__((alias("open")));

int openat(int directory, const char *path, int flags, ...) {
    return opened(directory, path, flags, MODE_OF(flags));
}

int openat64(int, const char *, int, ...) __attribute__((alias("openat")));

int creat(const char *path, mode_t mode) {
    return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int creat64(const char *, mode_t) __attribute__((alias("creat")));

/* One change of names. */
#define CHANGES_NAMES(call)                                                                                  \
    do {                                                                                                     \
        store_lock_names();                                                                                  \
        int done = (call);                                                                                   \
        int error = errno;                                                                                   \
        store_unlock_names();                                                                                \
        errno = error;                                                                                       \
        return done;                                                                                         \
    } while (0)

int rename(const char *from, const char *to) { CHANGES_NAMES(REAL(rename)(from, to)); }

int renameat(int from_directory, const char *from, int to_directory, const char *to) {
    CHANGES_NAMES(REAL(renameat)(from_directory, from, to_directory, to));
}

int renameat2(int from_directory, const char *from, int to_directory, const char *to, unsigned flags) {
    CHANGES_NAMES(REAL(renameat2)(from_directory, from, to_directory, to, flags));
}

int link(const char *from, const char *to) {
    if (create_fails(AT_FDCWD, to))
        return -1;
    CHANGES_NAMES(REAL(link)(from, to));
}

int linkat(int from_directory, const char *from, int to_directory, const char *to, int flags) {
    if (create_fails(to_directory, to))
        return -1;
    CHANGES_NAMES(REAL(linkat)(from_directory, from, to_directory, to, flags));
}

int mkdir(const char *path, mode_t mode) {
    if (create_fails(AT_FDCWD, path))
        return -1;
    CHANGES_NAMES(REAL(mkdir)(path, mode));
}

int mkdirat(int directory, const char *path, mode_t mode) {
    if (create_fails(directory, path))
        return -1;
    CHANGES_NAMES(REAL(mkdirat)(directory, path, mode));
}

int unlink(const char *path) { CHANGES_NAMES(REAL(unlink)(path)); }

int unlinkat(int directory, const char *path, int flags) { CHANGES_NAMES(REAL(unlinkat)(directory, path, flags)); }

int rmdir(const char *path) { CHANGES_NAMES(REAL(rmdir)(path)); }

int remove(const char *path) { CHANGES_NAMES(REAL(remove)(path)); }
