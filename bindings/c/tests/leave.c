/* A node leaves a cluster of three in one process: what it held goes to the others, nothing is lost,
 * and it knows that it is no member any more. */

#define _POSIX_C_SOURCE 200809L

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <distkv.h>

#define NODES 3
#define RECORDS 50
#define PATIENCE_MS 120000

static void ok(distkv_error *error, const char *what)
{
    if (error != NULL) {
        fprintf(stderr, "%s: %s\n", what, distkv_error_message(error));
        exit(EXIT_FAILURE);
    }
}

static void expect(int code, distkv_error *error, const char *what)
{
    if (distkv_error_code(error) != code) {
        fprintf(stderr, "%s: code %d: %s\n", what, distkv_error_code(error),
                distkv_error_message(error));
        exit(EXIT_FAILURE);
    }
    distkv_error_free(error);
}

/* Whether a text stands in what the library tells. */
static bool tells(const distkv_bytes *json, const char *text)
{
    size_t length = strlen(text), all = distkv_bytes_len(json);
    const uint8_t *bytes = distkv_bytes_data(json);
    for (size_t at = 0; at + length <= all; at++) {
        if (memcmp(bytes + at, text, length) == 0) {
            return true;
        }
    }
    return false;
}

static void check(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "%s is not so\n", what);
        exit(EXIT_FAILURE);
    }
}

static distkv_node *start(const char *join)
{
    distkv_node *node = NULL;
    distkv_options *options = distkv_options_new();
    ok(distkv_options_set_partitions(options, 4), "partitions");
    if (join != NULL) {
        ok(distkv_options_add_join(options, join), "join");
    }
    ok(distkv_node_open(options, &node), "open");
    distkv_options_free(options);
    return node;
}

int main(void)
{
    distkv_node *nodes[NODES];
    distkv_client *client = NULL;
    distkv_options *options = distkv_options_new();
    distkv_bytes *json = NULL;
    const char *address = NULL, *leaver = NULL;
    bool departed = true;
    char key[16];

    alarm(280);
    nodes[0] = start(NULL);
    ok(distkv_node_address(nodes[0], &address), "address");
    for (int i = 1; i < NODES; i++) {
        nodes[i] = start(address);
    }
    ok(distkv_node_client(nodes[0], &client), "client");
    ok(distkv_node_id(nodes[2], &leaver), "id");
    ok(distkv_options_set_timeout_ms(options, PATIENCE_MS), "timeout");
    for (int i = 0; i < RECORDS; i++) {
        snprintf(key, sizeof key, "key-%d", i);
        distkv_slice bytes = distkv_slice_text(key);
        ok(distkv_client_put(client, bytes, bytes, options, NULL), "put");
    }

    ok(distkv_client_ring_json(client, &json), "ring");
    check(tells(json, leaver), "the leaver is in the ring");
    distkv_bytes_free(json);
    ok(distkv_client_plan_json(client, NULL, leaver, options, &json), "plan");
    check(tells(json, leaver), "the leaver is in the plan");
    distkv_bytes_free(json);
    expect(DISTKV_NOT_FOUND, distkv_client_leave(client, "00000000000000ff", options), "nobody");
    ok(distkv_node_wait_departed(nodes[2], 1, &departed), "departed");
    check(!departed, "it has not left before it was asked to");

    ok(distkv_node_leave(nodes[2], PATIENCE_MS), "leave");
    ok(distkv_node_wait_departed(nodes[2], PATIENCE_MS, &departed), "departed");
    check(departed, "it knows that it has left");
    /* The node that answers may hear of it a moment later. */
    for (bool known = true; known;) {
        ok(distkv_client_ring_json(client, &json), "ring");
        known = tells(json, leaver);
        distkv_bytes_free(json);
        sched_yield();
    }
    ok(distkv_node_close(nodes[2]), "close");
    distkv_node_free(nodes[2]);

    for (int i = 0; i < RECORDS; i++) {
        distkv_bytes *value = NULL;
        snprintf(key, sizeof key, "key-%d", i);
        ok(distkv_client_get(client, distkv_slice_text(key), options, NULL, &value, NULL), "get");
        check(value != NULL && distkv_bytes_len(value) == strlen(key) &&
                  memcmp(distkv_bytes_data(value), key, strlen(key)) == 0,
              "what was put is there");
        distkv_bytes_free(value);
    }
    distkv_options_free(options);
    distkv_client_free(client);
    distkv_node_free(nodes[1]);
    distkv_node_free(nodes[0]);
    return EXIT_SUCCESS;
}
