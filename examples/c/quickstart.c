/*
 * A first node: starts one in memory, keeps a value in it, reads it back, removes it, and looks at an
 * error. Compile it with
 *
 *     cc -std=c11 quickstart.c $(pkg-config --cflags --libs distkv) -o quickstart
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <distkv.h>

/* Ends the program if a call failed. A server would look at distkv_error_retryable instead. */
static void check(distkv_error *error, const char *what)
{
    if (error == NULL) {
        return;
    }
    fprintf(stderr, "%s: %s (code %d)\n", what, distkv_error_message(error),
            distkv_error_code(error));
    distkv_error_free(error);
    exit(EXIT_FAILURE);
}

int main(void)
{
    printf("distkv %s\n", distkv_version());

    /* Without options: in memory, on a free port, a cluster of its own. */
    distkv_node *node = NULL;
    check(distkv_node_open(NULL, &node), "open");

    const char *id, *address;
    check(distkv_node_id(node, &id), "id");
    check(distkv_node_address(node, &address), "address");
    printf("node %s listens on %s\n", id, address);

    /* The verbs are the client's. This one reaches the node without a network in between. */
    distkv_client *client = NULL;
    check(distkv_node_client(node, &client), "client");

    /* Keys and values are any bytes; distkv_slice_text makes them out of text. */
    distkv_slice key = distkv_slice_text("city");
    uint64_t revision = 0;
    check(distkv_client_put(client, key, distkv_slice_text("Vienna"), NULL, &revision), "put");
    printf("put city at revision %" PRIu64 "\n", revision);

    /* A value is ours to free, and may be kept for as long as we like. */
    bool found = false;
    distkv_bytes *value = NULL;
    check(distkv_client_get(client, key, NULL, &found, &value, &revision), "get");
    printf("city is %.*s, written at revision %" PRIu64 "\n", (int)distkv_bytes_len(value),
           (const char *)distkv_bytes_data(value), revision);
    distkv_bytes_free(value);

    bool existed = false;
    check(distkv_client_delete(client, key, NULL, &existed), "delete");
    printf("city %s\n", existed ? "is deleted" : "was not there");

    /* An absent key is no error. */
    check(distkv_client_get(client, key, NULL, &found, &value, NULL), "get");
    printf("city is %s\n", found ? "still there" : "absent");

    /* But an empty key is one. An error says what happened and what may be done about it. */
    distkv_error *error =
        distkv_client_put(client, distkv_slice_text(""), distkv_slice_text("?"), NULL, NULL);
    printf("refused, as it should be: %s (code %d, %s)\n", distkv_error_message(error),
           distkv_error_code(error), distkv_error_retryable(error) ? "try again" : "do not retry");
    distkv_error_free(error);

    /* Closing stops, freeing forgets; the order of the two handles does not matter. */
    distkv_client_free(client);
    check(distkv_node_close(node), "close");
    distkv_node_free(node);
    return EXIT_SUCCESS;
}
