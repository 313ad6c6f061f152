/* Many threads share one client while another closes it: each call ends with what it came for, or
 * says that the client was closed. */

#define _POSIX_C_SOURCE 200809L

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <distkv.h>

#define THREADS 4
#define ROUNDS_BEFORE_CLOSE 50

static distkv_client *client;
static atomic_int rounds;

static void ok(distkv_error *error, const char *what)
{
    if (error != NULL) {
        fprintf(stderr, "%s: %s\n", what, distkv_error_message(error));
        exit(EXIT_FAILURE);
    }
}

/* Whether the client was closed under the call; any other failure ends the program. */
static bool closed(distkv_error *error, const char *what)
{
    int code = distkv_error_code(error);
    if (code == DISTKV_CLOSED || code == DISTKV_CANCELLED) {
        distkv_error_free(error);
        return true;
    }
    ok(error, what);
    return false;
}

static void *work(void *name)
{
    distkv_slice key = distkv_slice_text(name);
    for (;;) {
        distkv_bytes *value = NULL;
        if (closed(distkv_client_put(client, key, key, NULL, NULL), "put") ||
            closed(distkv_client_get(client, key, NULL, NULL, &value, NULL), "get")) {
            return NULL;
        }
        if (distkv_bytes_len(value) != key.len ||
            memcmp(distkv_bytes_data(value), key.data, key.len) != 0) {
            fprintf(stderr, "%s read what it did not write\n", (const char *)name);
            exit(EXIT_FAILURE);
        }
        distkv_bytes_free(value);
        atomic_fetch_add(&rounds, 1);
    }
}

int main(void)
{
    char names[THREADS][16];
    pthread_t threads[THREADS];
    distkv_node *node = NULL;

    alarm(240);
    ok(distkv_node_open(NULL, &node), "open");
    ok(distkv_node_client(node, &client), "client");
    for (int i = 0; i < THREADS; i++) {
        snprintf(names[i], sizeof names[i], "thread-%d", i);
        if (pthread_create(&threads[i], NULL, work, names[i]) != 0) {
            return EXIT_FAILURE;
        }
    }
    while (atomic_load(&rounds) < ROUNDS_BEFORE_CLOSE) {
        sched_yield();
    }
    ok(distkv_client_close(client), "close");
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    distkv_client_free(client);

    /* The node goes on, with a client of its own for whoever asks. */
    ok(distkv_node_client(node, &client), "client");
    distkv_slice key = distkv_slice_text("key");
    ok(distkv_client_put(client, key, key, NULL, NULL), "put");
    distkv_client_free(client);
    distkv_node_free(node);
    return EXIT_SUCCESS;
}
