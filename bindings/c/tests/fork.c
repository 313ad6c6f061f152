/* A forked child holds the parent's handles but none of its threads: every call on them answers
 * DISTKV_FORKED at once, freeing them does nothing, and the parent notices none of it. */

#define _POSIX_C_SOURCE 200809L

#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <distkv.h>

/* How the child says what went wrong: the number of the line, cut to an exit code other than 0. */
#define CODE(line) ((line) % 255 + 1)

#define EXPECT(expected, call)                                                                     \
    do {                                                                                           \
        distkv_error *error = (call);                                                              \
        if (distkv_error_code(error) != (expected)) {                                              \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call,                          \
                    distkv_error_message(error));                                                  \
            _exit(CODE(__LINE__));                                                                 \
        }                                                                                          \
        distkv_error_free(error);                                                                  \
    } while (0)

static void child(distkv_node *node, distkv_client *client)
{
    distkv_slice key = distkv_slice_text("key");
    distkv_bytes *value = NULL;
    distkv_client *another = NULL;
    const char *text = NULL;

    alarm(60); /* a call that waits for a thread of the parent would wait for ever */
    EXPECT(DISTKV_FORKED, distkv_client_put(client, key, key, NULL, NULL));
    EXPECT(DISTKV_FORKED, distkv_client_get(client, key, NULL, NULL, &value, NULL));
    EXPECT(DISTKV_FORKED, distkv_client_delete(client, key, NULL, NULL));
    EXPECT(DISTKV_FORKED, distkv_client_close(client));
    EXPECT(DISTKV_FORKED, distkv_node_id(node, &text));
    EXPECT(DISTKV_FORKED, distkv_node_client(node, &another));
    EXPECT(DISTKV_FORKED, distkv_node_close(node));
    distkv_client_free(client);
    distkv_node_free(node);
    /* Not _exit, where valgrind would count what leaks here on purpose. */
    execlp("true", "true", (char *)NULL);
    _exit(CODE(__LINE__));
}

int main(void)
{
    distkv_node *node = NULL;
    distkv_client *client = NULL;
    distkv_slice key = distkv_slice_text("key");

    EXPECT(DISTKV_OK, distkv_node_open(NULL, &node));
    EXPECT(DISTKV_OK, distkv_node_client(node, &client));
    EXPECT(DISTKV_OK, distkv_client_put(client, key, key, NULL, NULL));

    pid_t pid = fork();
    if (pid == 0) {
        child(node, client);
    }
    int status = -1;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
        fprintf(stderr, "the child ended with status %d\n", status);
        return EXIT_FAILURE;
    }

    bool existed = false;
    EXPECT(DISTKV_OK, distkv_client_delete(client, key, NULL, &existed));
    EXPECT(DISTKV_OK, distkv_node_close(node));
    distkv_client_free(client);
    distkv_node_free(node);
    return existed ? EXIT_SUCCESS : EXIT_FAILURE;
}
