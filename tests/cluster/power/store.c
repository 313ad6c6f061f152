/* The store: what would be there if the power went now. See layer.h. */
#define _GNU_SOURCE
#include "layer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define BUCKETS 1024
#define PORTION (64 * 1024)
#define FOR_EVER ((off_t)INT64_MAX)

/* An inode for ever. */
struct id {
    uint64_t number;
    uint64_t born; /* in nanoseconds */
};

struct range {
    off_t from, to;
};

struct file {
    struct id id;
    bool watched;
    /* One sync at a time, so that an older copy never covers a newer one. */
    pthread_mutex_t copying;
    pthread_mutex_t position;
    /* Guards what follows. */
    pthread_mutex_t marking;
    struct range *dirty; /* in order, with gaps between them */
    size_t count, room;
    off_t cut; /* the smallest size it had since the last sync */
    struct file *next;
};

static char live[PATH_MAX];
static size_t live_length;
static int store = -1;
static uint32_t device_major, device_minor;

static pthread_mutex_t names = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t table = PTHREAD_MUTEX_INITIALIZER;
static struct file *buckets[BUCKETS];

_Noreturn void layer_die(const char *what) {
    int error = errno;
    fprintf(stderr, "power layer: %s: %s\n", what, strerror(error));
    abort();
}

/* The layer's own calls go past the functions that it puts in front of libc's. */

static int open_raw(int directory, const char *path, int flags) {
    return (int)syscall(SYS_openat, directory, path, flags | O_CLOEXEC, 0644);
}

static void close_raw(int descriptor) { syscall(SYS_close, descriptor); }

static bool resize_raw(int descriptor, off_t size) { return syscall(SYS_ftruncate, descriptor, size) == 0; }

static bool look(int directory, const char *name, int flags, struct statx *facts) {
    unsigned wanted = STATX_TYPE | STATX_INO | STATX_SIZE | STATX_BTIME;
    return statx(directory, name, flags | AT_STATX_DONT_SYNC, wanted, facts) == 0;
}

static struct id id_of(const struct statx *facts) {
    if ((facts->stx_mask & STATX_BTIME) == 0)
        layer_die("the file system does not say when a file was made");
    uint64_t born = (uint64_t)facts->stx_btime.tv_sec * 1000000000u + facts->stx_btime.tv_nsec;
    return (struct id){facts->stx_ino, born};
}

static void name_of(char kind, struct id id, char name[64]) {
    snprintf(name, 64, "%c-%llx.%llx", kind, (unsigned long long)id.number, (unsigned long long)id.born);
}

/* Paths. */

static bool inside(const char *path, char rest[4096]) {
    if (strncmp(path, live, live_length) != 0 || (path[live_length] != '/' && path[live_length] != '\0'))
        return false;
    snprintf(rest, 4096, "%s", path[live_length] == '\0' ? "/" : path + live_length);
    return true;
}

static bool path_of(int descriptor, char path[4096]) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, 4095);
    if (length < 0)
        return false;
    path[length] = '\0';
    return true;
}

bool store_path(int descriptor, char rest[4096]) {
    char path[4096];
    return store >= 0 && path_of(descriptor, path) && inside(path, rest);
}

/* Takes out what says nothing: `//` and `/./`. */
static void straighten(char *path) {
    char *to = path;
    for (char *from = path; *from != '\0';) {
        if (from[0] == '/' && from[1] == '/')
            from += 1;
        else if (from[0] == '/' && from[1] == '.' && (from[2] == '/' || from[2] == '\0'))
            from += 2;
        else
            *to++ = *from++;
    }
    *to = '\0';
}

bool store_inside(int directory, const char *path, char rest[4096]) {
    char base[4096] = "", whole[8200];
    if (store < 0 || path == NULL)
        return false;
    if (path[0] != '/') {
        bool found = directory == AT_FDCWD ? getcwd(base, sizeof base) != NULL : path_of(directory, base);
        if (!found)
            return false;
    }
    snprintf(whole, sizeof whole, "%s/%s", base, path);
    straighten(whole);
    return inside(whole, rest);
}

/* Files. */

static struct file *new_file(struct id id, bool watched) {
    struct file *file = calloc(1, sizeof *file);
    if (file == NULL)
        layer_die("no memory");
    file->id = id;
    file->watched = watched;
    file->cut = FOR_EVER;
    pthread_mutex_init(&file->copying, NULL);
    pthread_mutex_init(&file->position, NULL);
    pthread_mutex_init(&file->marking, NULL);
    return file;
}

static struct file **find(struct id id) {
    struct file **at = &buckets[(id.number ^ id.born) % BUCKETS];
    while (*at != NULL && ((*at)->id.number != id.number || (*at)->id.born != id.born))
        at = &(*at)->next;
    return at;
}

struct file *store_file(int descriptor) {
    struct statx facts;
    if (store < 0 || !look(descriptor, "", AT_EMPTY_PATH, &facts) || !S_ISREG(facts.stx_mode) ||
        facts.stx_dev_major != device_major || facts.stx_dev_minor != device_minor)
        return NULL;
    struct id id = id_of(&facts);
    pthread_mutex_lock(&table);
    struct file **at = find(id);
    if (*at == NULL) {
        char rest[4096];
        *at = new_file(id, store_path(descriptor, rest));
        /* An earlier process may have written it without a sync. A sync is for all that was written,
         * whoever did it. */
        store_wrote(*at, 0, FOR_EVER);
    }
    struct file *file = *at;
    pthread_mutex_unlock(&table);
    return file->watched ? file : NULL;
}

void store_lock_position(struct file *file) { pthread_mutex_lock(&file->position); }

void store_unlock_position(struct file *file) { pthread_mutex_unlock(&file->position); }

void store_wrote(struct file *file, off_t from, off_t to) {
    pthread_mutex_lock(&file->marking);
    size_t first = 0;
    while (first < file->count && file->dirty[first].to < from)
        first++;
    size_t behind = first;
    for (; behind < file->count && file->dirty[behind].from <= to; behind++) {
        from = file->dirty[behind].from < from ? file->dirty[behind].from : from;
        to = file->dirty[behind].to > to ? file->dirty[behind].to : to;
    }
    if (behind == first) {
        if (file->count == file->room) {
            file->room = file->room == 0 ? 8 : 2 * file->room;
            file->dirty = realloc(file->dirty, file->room * sizeof *file->dirty);
            if (file->dirty == NULL)
                layer_die("no memory");
        }
        memmove(&file->dirty[first + 1], &file->dirty[first], (file->count - first) * sizeof *file->dirty);
        file->count++;
    } else {
        memmove(&file->dirty[first + 1], &file->dirty[behind], (file->count - behind) * sizeof *file->dirty);
        file->count -= behind - first - 1;
    }
    file->dirty[first] = (struct range){from, to};
    pthread_mutex_unlock(&file->marking);
}

void store_cut(struct file *file, off_t size) {
    pthread_mutex_lock(&file->marking);
    file->cut = size < file->cut ? size : file->cut;
    pthread_mutex_unlock(&file->marking);
}

/* Takes what is to be synced; the caller frees the ranges. */
static struct range *take(struct file *file, size_t *count, off_t *cut) {
    pthread_mutex_lock(&file->marking);
    struct range *ranges = file->dirty;
    *count = file->count;
    *cut = file->cut;
    file->dirty = NULL;
    file->count = file->room = 0;
    file->cut = FOR_EVER;
    pthread_mutex_unlock(&file->marking);
    return ranges;
}

void store_forget(struct file *file) {
    size_t count;
    off_t cut;
    free(take(file, &count, &cut));
}

/* Copies a part of a file, as far as the file goes. */
static void copy(int from, int to, struct range range) {
    char *buffer = malloc(PORTION);
    if (buffer == NULL)
        layer_die("no memory");
    while (range.from < range.to) {
        size_t wanted = range.to - range.from < PORTION ? (size_t)(range.to - range.from) : PORTION;
        /* Not libc's: what the rules say is not meant for the layer itself. */
        ssize_t got = syscall(SYS_pread64, from, buffer, wanted, range.from);
        if (got == 0)
            break;
        if (got < 0 || syscall(SYS_pwrite64, to, buffer, (size_t)got, range.from) != got)
            layer_die("cannot copy into the store");
        range.from += got;
    }
    free(buffer);
}

void store_sync(struct file *file, int descriptor) {
    char name[64], link[64];
    pthread_mutex_lock(&file->copying);
    size_t count;
    off_t cut;
    struct range *ranges = take(file, &count, &cut);
    name_of('f', file->id, name);
    int to = open_raw(store, name, O_WRONLY | O_CREAT);
    /* The descriptor itself may be good for writing only. */
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    int from = open_raw(AT_FDCWD, link, O_RDONLY);
    struct stat before;
    if (to < 0 || from < 0 || fstat(to, &before) != 0)
        layer_die("cannot open a file to sync");
    if (cut < before.st_size && !resize_raw(to, cut))
        layer_die("cannot cut a file in the store");
    for (size_t at = 0; at < count; at++)
        copy(from, to, ranges[at]);
    struct stat now;
    if (fstat(from, &now) != 0 || !resize_raw(to, now.st_size))
        layer_die("cannot give a file in the store its size");
    close_raw(from);
    close_raw(to);
    free(ranges);
    pthread_mutex_unlock(&file->copying);
}

/* Names. */

void store_lock_names(void) { pthread_mutex_lock(&names); }

void store_unlock_names(void) { pthread_mutex_unlock(&names); }

static DIR *list(int descriptor) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    DIR *directory = opendir(link);
    if (directory == NULL)
        layer_die("cannot list a directory");
    return directory;
}

/* The next entry that is a file or a directory, with what it is. */
static const char *next(DIR *directory, struct statx *facts) {
    struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
            continue;
        if (!look(dirfd(directory), name, AT_SYMLINK_NOFOLLOW, facts))
            layer_die("a name went while the directory was listed");
        if (!S_ISREG(facts->stx_mode) && !S_ISDIR(facts->stx_mode))
            layer_die("what is neither file nor directory cannot be kept");
        return name;
    }
    return NULL;
}

/* A file whose name is durable is there, empty if it was never synced. */
static void make_present(struct id id) {
    char name[64];
    name_of('f', id, name);
    int file = open_raw(store, name, O_WRONLY | O_CREAT);
    if (file < 0)
        layer_die("cannot make a file in the store");
    close_raw(file);
}

/* Writes a file of the store, whole or not at all. */
static FILE *begin(char path[32]) {
    static unsigned last; /* under the lock of names, or before there are threads */
    snprintf(path, 32, "new-%u", ++last);
    int file = open_raw(store, path, O_WRONLY | O_CREAT | O_TRUNC);
    FILE *stream = file < 0 ? NULL : fdopen(file, "w");
    if (stream == NULL)
        layer_die("cannot write into the store");
    return stream;
}

static void finish(FILE *stream, const char *path, const char *name) {
    if (fclose(stream) != 0 || syscall(SYS_renameat, store, path, store, name) != 0)
        layer_die("cannot write into the store");
}

void store_sync_names(int descriptor) {
    char path[32], name[64];
    struct statx facts;
    store_lock_names();
    DIR *directory = list(descriptor);
    FILE *stream = begin(path);
    const char *entry;
    while ((entry = next(directory, &facts)) != NULL) {
        struct id id = id_of(&facts);
        bool is_file = S_ISREG(facts.stx_mode);
        if (is_file)
            make_present(id);
        fprintf(stream, "%c %llx.%llx %s\n", is_file ? 'f' : 'd', (unsigned long long)id.number,
                (unsigned long long)id.born, entry);
    }
    if (!look(dirfd(directory), "", AT_EMPTY_PATH, &facts))
        layer_die("cannot look at a directory");
    name_of('d', id_of(&facts), name);
    finish(stream, path, name);
    closedir(directory);
    store_unlock_names();
}

/* The beginning. */

/* All that is there is durable. */
static void take_in(int descriptor) {
    struct statx facts;
    DIR *directory = list(descriptor);
    const char *entry;
    while ((entry = next(directory, &facts)) != NULL) {
        int opened = open_raw(dirfd(directory), entry, O_RDONLY);
        if (opened < 0)
            layer_die("cannot open what is to be taken in");
        if (S_ISDIR(facts.stx_mode)) {
            take_in(opened);
        } else {
            struct file **at = find(id_of(&facts));
            if (*at == NULL)
                *at = new_file(id_of(&facts), true);
            store_wrote(*at, 0, FOR_EVER);
            store_sync(*at, opened);
        }
        close_raw(opened);
    }
    closedir(directory);
    store_sync_names(descriptor);
}

__attribute__((constructor)) static void start(void) {
    const char *given = getenv("POWER_LIVE"), *kept = getenv("POWER_STORE");
    struct statx facts;
    if (given == NULL || kept == NULL)
        return;
    snprintf(live, sizeof live, "%s", given);
    live_length = strlen(live);
    int root = open_raw(AT_FDCWD, live, O_RDONLY | O_DIRECTORY);
    int opened = open_raw(AT_FDCWD, kept, O_RDONLY | O_DIRECTORY);
    if (root < 0 || opened < 0 || !look(root, "", AT_EMPTY_PATH, &facts))
        layer_die("the live directory or the store is not there");
    device_major = facts.stx_dev_major;
    device_minor = facts.stx_dev_minor;
    store = opened;
    if (faccessat(store, "root", F_OK, 0) != 0) {
        char path[32], name[64];
        take_in(root);
        FILE *stream = begin(path);
        name_of('d', id_of(&facts), name);
        fprintf(stream, "%s", name + 2);
        finish(stream, path, "root");
    }
    close_raw(root);
}
