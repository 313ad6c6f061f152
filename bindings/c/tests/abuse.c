/* What a careless program does: nulls, calls after close, sizes out of all proportion. Each is
 * answered with an error, none with a crash. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <distkv.h>

static void fail(const char *file, int line, const char *what, const char *message)
{
    fprintf(stderr, "%s:%d: %s: %s\n", file, line, what, message);
    exit(EXIT_FAILURE);
}

/* Expects a call to end with that code, and the message to hold that text. */
#define EXPECT(expected, text, call)                                                               \
    do {                                                                                           \
        distkv_error *error = (call);                                                              \
        const char *message = distkv_error_message(error);                                         \
        if (distkv_error_code(error) != (expected) || strstr(message, (text)) == NULL) {           \
            fail(__FILE__, __LINE__, #call, message);                                              \
        }                                                                                          \
        distkv_error_free(error);                                                                  \
    } while (0)

#define OK(call) EXPECT(DISTKV_OK, "", call)
#define NULL_NAMED(name, call) EXPECT(DISTKV_INVALID_ARGUMENT, "argument=`" name "`", call)

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fail(__FILE__, __LINE__, #condition, "is not so");                                     \
        }                                                                                          \
    } while (0)

/* A place whose content must be gone after a failed call. */
#define POISON ((void *)(uintptr_t)0xdead)

static const distkv_slice nothing = {NULL, 0};

static void nulls(distkv_node *node, distkv_client *client)
{
    distkv_slice key = distkv_slice_text("key");
    distkv_slice lost = {NULL, 3};
    distkv_node *no_node = POISON;
    distkv_client *no_client = POISON;
    distkv_bytes *value = POISON;
    const char *text = POISON;
    uint64_t revision = 7;
    bool found = true;

    NULL_NAMED("node", distkv_node_open(NULL, NULL));
    NULL_NAMED("endpoints", distkv_client_open(NULL, NULL, &no_client));
    CHECK(no_client == NULL);
    NULL_NAMED("client", distkv_client_open("127.0.0.1:1", NULL, NULL));
    NULL_NAMED("node", distkv_node_id(NULL, &text));
    CHECK(text == NULL);
    NULL_NAMED("id", distkv_node_id(node, NULL));
    NULL_NAMED("address", distkv_node_address(node, NULL));
    NULL_NAMED("cluster", distkv_node_cluster(node, NULL));
    NULL_NAMED("node", distkv_node_client(NULL, &no_client));
    NULL_NAMED("client", distkv_node_client(node, NULL));
    NULL_NAMED("node", distkv_node_close(NULL));
    NULL_NAMED("client", distkv_client_put(NULL, key, key, NULL, &revision));
    CHECK(revision == 0);
    NULL_NAMED("key", distkv_client_put(client, lost, key, NULL, NULL));
    NULL_NAMED("value", distkv_client_put(client, key, lost, NULL, NULL));
    NULL_NAMED("client", distkv_client_get(NULL, key, NULL, &found, &value, NULL));
    CHECK(!found && value == NULL);
    NULL_NAMED("value", distkv_client_get(client, key, NULL, &found, NULL, NULL));
    NULL_NAMED("client", distkv_client_delete(NULL, key, NULL, &found));
    NULL_NAMED("client", distkv_client_close(NULL));
    NULL_NAMED("json", distkv_client_ring_json(client, NULL));
    NULL_NAMED("client", distkv_client_plan_json(NULL, NULL, NULL, NULL, &value));
    CHECK(value == NULL);
    NULL_NAMED("node", distkv_client_leave(client, NULL, NULL));
    NULL_NAMED("node", distkv_client_remove(client, NULL, true, NULL));
    NULL_NAMED("node", distkv_client_transfer(client, 0, NULL, NULL));
    NULL_NAMED("client", distkv_client_tune(NULL, NULL, NULL));
    NULL_NAMED("node", distkv_node_leave(NULL, 1));
    found = true;
    NULL_NAMED("node", distkv_node_wait_departed(NULL, 1, &found));
    CHECK(!found);
    NULL_NAMED("options", distkv_options_set_listen(NULL, "127.0.0.1:0"));
    NULL_NAMED("options", distkv_options_set_timeout_ms(NULL, 1));

    EXPECT(DISTKV_UNSUPPORTED, "asked=`2`", distkv_node_open_v(2, NULL, &no_node));
    CHECK(no_node == NULL);

    distkv_node_free(NULL);
    distkv_client_free(NULL);
    distkv_options_free(NULL);
    distkv_bytes_free(NULL);
    distkv_error_free(NULL);
    CHECK(distkv_bytes_data(NULL) == NULL && distkv_bytes_len(NULL) == 0);
    CHECK(distkv_slice_text(NULL).len == 0);
    CHECK(distkv_error_code(NULL) == DISTKV_OK && *distkv_error_message(NULL) == '\0');
}

static void options(void)
{
    distkv_node *node = POISON;
    distkv_options *options = distkv_options_new();
    NULL_NAMED("listen", distkv_options_set_listen(options, NULL));
    EXPECT(DISTKV_INVALID_ARGUMENT, "zone", distkv_options_set_zone(options, "\xff"));
    EXPECT(DISTKV_INVALID_ARGUMENT, "65600", distkv_options_set_partitions(options, 65600));
    OK(distkv_options_set_partitions(options, 48));
    EXPECT(DISTKV_INVALID_ARGUMENT, "partitions", distkv_node_open(options, &node));
    CHECK(node == NULL);
    distkv_options_free(options);
}

static void sizes(distkv_client *client)
{
    char long_key[16 * 1024 + 1];
    memset(long_key, 'k', sizeof long_key);
    distkv_slice longest = {(const uint8_t *)long_key, sizeof long_key - 1};
    distkv_slice too_long = {(const uint8_t *)long_key, sizeof long_key};
    distkv_slice absurd = {(const uint8_t *)long_key, SIZE_MAX};
    distkv_bytes *value = POISON;
    bool found = false, existed = true;

    EXPECT(DISTKV_INVALID_ARGUMENT, "key is empty",
           distkv_client_put(client, nothing, nothing, NULL, NULL));
    EXPECT(DISTKV_TOO_LARGE, "limit=`16384`",
           distkv_client_put(client, too_long, nothing, NULL, NULL));
    EXPECT(DISTKV_TOO_LARGE, "limit=`16384`",
           distkv_client_get(client, absurd, NULL, &found, &value, NULL));
    CHECK(value == NULL);
    EXPECT(DISTKV_TOO_LARGE, "limit=`8388608`",
           distkv_client_put(client, longest, absurd, NULL, NULL));
    EXPECT(DISTKV_TOO_LARGE, "limit=`16384`",
           distkv_client_delete(client, absurd, NULL, &existed));
    CHECK(!existed);

    OK(distkv_client_put(client, longest, nothing, NULL, NULL));
    OK(distkv_client_get(client, longest, NULL, &found, &value, NULL));
    CHECK(found && value != NULL && distkv_bytes_len(value) == 0);
    distkv_bytes_free(value);
}

/* What was read stays readable when all it came from is gone. */
static void after_close(distkv_node *node, distkv_client *client)
{
    distkv_slice key = distkv_slice_text("key");
    distkv_client *another = POISON;
    distkv_bytes *value = NULL, *none = POISON;
    const char *text = POISON;
    uint64_t revision = 7;

    OK(distkv_client_put(client, key, distkv_slice_text("value"), NULL, NULL));
    OK(distkv_client_get(client, key, NULL, NULL, &value, NULL));

    OK(distkv_client_close(client));
    OK(distkv_client_close(client));
    EXPECT(DISTKV_CLOSED, "client", distkv_client_put(client, key, key, NULL, &revision));
    CHECK(revision == 0);
    EXPECT(DISTKV_CLOSED, "client", distkv_client_get(client, key, NULL, NULL, &none, NULL));
    CHECK(none == NULL);
    EXPECT(DISTKV_CLOSED, "client", distkv_client_delete(client, key, NULL, NULL));
    none = POISON;
    EXPECT(DISTKV_CLOSED, "client", distkv_client_ring_json(client, &none));
    CHECK(none == NULL);
    EXPECT(DISTKV_CLOSED, "client", distkv_client_tune(client, NULL, NULL));

    OK(distkv_node_close(node));
    OK(distkv_node_close(node));
    EXPECT(DISTKV_CLOSED, "node", distkv_node_id(node, &text));
    CHECK(text == NULL);
    EXPECT(DISTKV_CLOSED, "node", distkv_node_leave(node, 0));
    EXPECT(DISTKV_CLOSED, "node", distkv_node_client(node, &another));
    CHECK(another == NULL);

    distkv_node_free(node);
    distkv_client_free(client);
    CHECK(distkv_bytes_len(value) == 5 && memcmp(distkv_bytes_data(value), "value", 5) == 0);
    distkv_bytes_free(value);
}

int main(void)
{
    distkv_node *node = NULL;
    distkv_client *client = NULL;
    OK(distkv_node_open(NULL, &node));
    OK(distkv_node_client(node, &client));
    options();
    nulls(node, client);
    sizes(client);
    after_close(node, client);

    /* Freeing what was never closed is allowed. */
    OK(distkv_node_open(NULL, &node));
    OK(distkv_node_client(node, &client));
    distkv_node_free(node);
    distkv_client_free(client);
    return EXIT_SUCCESS;
}
