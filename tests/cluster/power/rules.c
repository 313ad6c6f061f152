/* The rules of the control file, by which a story makes the disk misbehave while the process runs.
 *
 *   ACTION OPERATIONS GLOB [THREAD]
 *
 *   ACTION      drop    says that it was done, and does nothing (syncs only)
 *               eio     fails with EIO; a failed sync also gives up what was to be synced
 *               enospc  the same with ENOSPC
 *               stall   waits until no rule says so any more
 *               quick   syncs into the store alone, not the real disk: for stories that need many syncs
 *   OPERATIONS  of sync, write, create, read, one or more with commas; create is a new file, directory or
 *               link, read is one at an offset
 *   GLOB        of the path inside the live directory, beginning with `/`; `*` stands for slashes, too.
 *               Behind the path of what is read come `@` and the offset, in twelve digits
 *   THREAD      a glob of the name of the thread, for syncs of the same file at two places in the code
 *
 * The first rule that fits counts. The harness replaces the file by renaming another to its name.
 */
#define _GNU_SOURCE
#include "layer.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MOST 64

struct rule {
    char action[16];
    int operations;
    char glob[1024];
    char thread[32];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct rule rules[MOST];
static size_t count;
static struct stat loaded;

static int parse_operations(char *list) {
    int operations = 0;
    for (char *rest, *word = strtok_r(list, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
        if (strcmp(word, "sync") == 0)
            operations |= SYNC;
        else if (strcmp(word, "write") == 0)
            operations |= WRITE;
        else if (strcmp(word, "create") == 0)
            operations |= CREATE;
        else if (strcmp(word, "read") == 0)
            operations |= READ;
        else
            layer_die("unknown operation in the rules");
    }
    return operations;
}

static void load(const char *path) {
    count = 0;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return;
    char line[2048], operations[64];
    while (fgets(line, sizeof line, file) != NULL) {
        struct rule *rule = &rules[count];
        rule->thread[0] = '\0';
        int fields = sscanf(line, "%15s %63s %1023s %31s", rule->action, operations, rule->glob, rule->thread);
        if (fields <= 0)
            continue;
        if (fields < 3 || ++count == MOST)
            layer_die("a rule that makes no sense, or too many");
        rule->operations = parse_operations(operations);
    }
    fclose(file);
}

/* Reads the file again if it is not the one that was read. */
static void refresh(void) {
    const char *path = getenv("POWER_CONTROL");
    struct stat now = {0};
    if (path == NULL || stat(path, &now) != 0) {
        count = 0;
        memset(&loaded, 0, sizeof loaded);
        return;
    }
    bool same = now.st_ino == loaded.st_ino && now.st_size == loaded.st_size &&
                now.st_mtim.tv_sec == loaded.st_mtim.tv_sec && now.st_mtim.tv_nsec == loaded.st_mtim.tv_nsec;
    if (!same) {
        load(path);
        loaded = now;
    }
}

bool rules_any(void) {
    pthread_mutex_lock(&lock);
    refresh();
    bool any = count > 0;
    pthread_mutex_unlock(&lock);
    return any;
}

static const struct rule *find(enum operation operation, const char *inside, const char *thread) {
    for (size_t at = 0; at < count; at++) {
        const struct rule *rule = &rules[at];
        bool fits = (rule->operations & operation) != 0 && fnmatch(rule->glob, inside, 0) == 0;
        if (fits && (rule->thread[0] == '\0' || fnmatch(rule->thread, thread, 0) == 0))
            return rule;
    }
    return NULL;
}

static void note(const char *action, enum operation operation, const char *inside, const char *thread) {
    const char *path = getenv("POWER_MET");
    if (path == NULL)
        return;
    char line[5000];
    const char *name = operation == SYNC    ? "sync"
                       : operation == WRITE ? "write"
                       : operation == READ  ? "read"
                                            : "create";
    int length = snprintf(line, sizeof line, "%s %s %s %s\n", action, name, inside, thread);
    int file = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (file < 0 || syscall(SYS_write, file, line, (size_t)length) != length)
        layer_die("cannot note what was met");
    syscall(SYS_close, file);
}

struct verdict rules_verdict(enum operation operation, const char *inside) {
    struct verdict verdict = {NOTHING, 0};
    char thread[16] = "";
    prctl(PR_GET_NAME, thread);
    for (bool stalled = false;; stalled = true) {
        pthread_mutex_lock(&lock);
        refresh();
        const struct rule *rule = find(operation, inside, thread);
        char action[16] = "";
        if (rule != NULL)
            strcpy(action, rule->action);
        pthread_mutex_unlock(&lock);
        bool quick = strcmp(action, "quick") == 0;
        if (action[0] != '\0' && !quick && !(stalled && strcmp(action, "stall") == 0))
            note(action, operation, inside, thread);
        if (strcmp(action, "stall") == 0) {
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
            continue;
        }
        if (strcmp(action, "drop") == 0)
            verdict.action = DROP;
        else if (quick)
            verdict.action = QUICK;
        else if (strcmp(action, "eio") == 0)
            verdict = (struct verdict){FAIL, EIO};
        else if (strcmp(action, "enospc") == 0)
            verdict = (struct verdict){FAIL, ENOSPC};
        else if (action[0] != '\0')
            layer_die("unknown action in the rules");
        return verdict;
    }
}
