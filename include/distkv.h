/* distkv: a distributed, strongly consistent key-value store inside your process.
 *
 * Generated from bindings/c by `make header`; do not edit. */

#ifndef DISTKV_H
#define DISTKV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * @file distkv.h
 * distkv: a strongly consistent, distributed key-value store inside the process that uses it.
 *
 * A process starts a node (it holds data, votes, and serves anyone), or connects a client to nodes
 * elsewhere; both lead to a distkv_client, which has the verbs.
 *
 * Errors: a function that can fail returns a distkv_error *, NULL for success; free it with
 * distkv_error_free. After a failure every output argument is zero (NULL, false, 0). A required
 * pointer that is NULL is DISTKV_INVALID_ARGUMENT, and the message names it; it never crashes.
 *
 * Handles (distkv_options, distkv_node, distkv_client, distkv_bytes, distkv_error) are made by the
 * library and freed by the function ending in _free, exactly once, when no other thread is using
 * them; freeing NULL does nothing. Closing is not freeing: after close every call on the handle
 * answers DISTKV_CLOSED, while using a handle after it was freed is undefined, as with free().
 *
 * Threads: nodes and clients may be used from any number of threads at once. The other handles may
 * be read by many threads, but not be read by one while another changes or frees them.
 *
 * fork(): a node or client made before a fork answers DISTKV_FORKED in the child, and freeing it
 * there does nothing, on purpose: its threads stayed with the parent. The parent goes on as if
 * nothing had happened; the child opens its own. Noticed is what goes through fork(), not vfork() or
 * a bare clone(), after which only exec and _exit are allowed anyway.
 *
 * The library installs no signal handlers, never unwinds into its host (a defect of its own is
 * DISTKV_INTERNAL), and stays in memory after dlclose().
 */

/**
 * Starts a node; see distkv_node_open_v.
 */
#define distkv_node_open(options, node) distkv_node_open_v(DISTKV_API_VERSION, (options), (node))

/**
 * Connects a client; see distkv_client_open_v.
 */
#define distkv_client_open(endpoints, options, client) \
    distkv_client_open_v(DISTKV_API_VERSION, (endpoints), (options), (client))

/**
 * The version of the ABI this header describes: +1 whenever something is added. The macros
 * distkv_node_open and distkv_client_open pass it on, so that a library older than the header
 * answers DISTKV_UNSUPPORTED instead of doing something else than was meant.
 */
#define DISTKV_API_VERSION 1

/**
 * No error.
 */
#define DISTKV_OK 0

/**
 * The caller asked for something that makes no sense; the message names it.
 */
#define DISTKV_INVALID_ARGUMENT 1

/**
 * An administrative object does not exist. A missing key is no error.
 */
#define DISTKV_NOT_FOUND 2

/**
 * A condition did not hold; distkv_error_revision has the current revision.
 */
#define DISTKV_CONFLICT 3

/**
 * Something is above its limit; the message names both.
 */
#define DISTKV_TOO_LARGE 4

/**
 * No quorum or no leader in time.
 */
#define DISTKV_UNAVAILABLE 5

/**
 * The time was up after the command had been proposed: the outcome is unknown.
 */
#define DISTKV_TIMEOUT 6

/**
 * A queue or table is full; later may be better.
 */
#define DISTKV_OVERLOADED 7

/**
 * The disk is full. Heals when space returns.
 */
#define DISTKV_STORAGE_FULL 8

/**
 * Stored bytes are not what was written.
 */
#define DISTKV_CORRUPTION 9

/**
 * The caller did not say who it is.
 */
#define DISTKV_UNAUTHENTICATED 10

/**
 * The caller may not do that.
 */
#define DISTKV_PERMISSION_DENIED 11

/**
 * The handle was closed.
 */
#define DISTKV_CLOSED 12

/**
 * The handle was made before a fork and used in the child.
 */
#define DISTKV_FORKED 13

/**
 * A blocking call inside a callback.
 */
#define DISTKV_WOULD_DEADLOCK 14

/**
 * The other side belongs to another cluster.
 */
#define DISTKV_WRONG_CLUSTER 15

/**
 * The caller cancelled the call; the outcome is unknown.
 */
#define DISTKV_CANCELLED 16

/**
 * The other side, or the library, is of another version and cannot do this.
 */
#define DISTKV_UNSUPPORTED 17

/**
 * A defect in distkv.
 */
#define DISTKV_INTERNAL 18

/**
 * The retry came too late to be recognized as one.
 */
#define DISTKV_SESSION_EXPIRED 19

/**
 * Bytes that the library gave to the caller, who frees them with distkv_bytes_free. They never
 * change and live on when the client or node they came from is closed or freed.
 */
typedef struct distkv_bytes distkv_bytes;

/**
 * A client: the verbs, over a node in this process or over the network. May be used from any number
 * of threads at once.
 */
typedef struct distkv_client distkv_client;

/**
 * What went wrong with a call. Owned by the caller, who frees it with distkv_error_free; it depends
 * on no other handle. May be read from any thread.
 */
typedef struct distkv_error distkv_error;

/**
 * A node: one member of a cluster, running in this process. May be used from any number of threads
 * at once.
 */
typedef struct distkv_node distkv_node;

/**
 * Settings of a node, a client, a call, or the tuning of a cluster. Whatever takes options copies them, so that the same ones
 * may be changed, used again, or freed at once. What a setting has no meaning for ignores it.
 */
typedef struct distkv_options distkv_options;

/**
 * Bytes that belong to the caller. The library reads them during the call and keeps no pointer to
 * them. A length of 0 is an empty value, whatever the pointer, which may be NULL.
 */
typedef struct {
  /**
   * The first byte.
   */
  const uint8_t *data;
  /**
   * How many bytes there are.
   */
  size_t len;
} distkv_slice;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The version of the library, such as "0.1.0". Static text: valid for ever, not to be freed. This
 * function will never change. Thread-safe.
 */
const char *distkv_version(void);

/**
 * The error's code, one of the DISTKV_ constants; a newer library may answer with one that this
 * header does not know. DISTKV_OK if `error` is NULL. Thread-safe.
 */
int distkv_error_code(const distkv_error *error);

/**
 * Whether the same call may succeed if made again. false if `error` is NULL. Thread-safe.
 */
bool distkv_error_retryable(const distkv_error *error);

/**
 * Whether the change may have been made although the call failed. If false, it was not made and
 * never will be. false if `error` is NULL. Thread-safe.
 */
bool distkv_error_maybe_applied(const distkv_error *error);

/**
 * The revision in force, for DISTKV_CONFLICT (0: the key is absent); 0 for all other errors and if
 * `error` is NULL. Thread-safe.
 */
uint64_t distkv_error_revision(const distkv_error *error);

/**
 * What happened, for people: a lowercase sentence in UTF-8 with name=`value` pairs last,
 * NUL-terminated. Belongs to the error and is valid until that is freed; never NULL; empty if
 * `error` is NULL. Thread-safe.
 */
const char *distkv_error_message(const distkv_error *error);

/**
 * Frees an error. NULL does nothing.
 */
void distkv_error_free(distkv_error *error);

/**
 * The bytes of a NUL-terminated text, without the NUL, borrowed from it. NULL makes an empty slice.
 * Thread-safe.
 */
distkv_slice distkv_slice_text(const char *text);

/**
 * The first of the bytes; valid until they are freed. NULL if `bytes` is NULL; not to be read if
 * there are none. Thread-safe.
 */
const uint8_t *distkv_bytes_data(const distkv_bytes *bytes);

/**
 * How many bytes there are; 0 if `bytes` is NULL. Thread-safe.
 */
size_t distkv_bytes_len(const distkv_bytes *bytes);

/**
 * Frees bytes. NULL does nothing.
 */
void distkv_bytes_free(distkv_bytes *bytes);

/**
 * New options, all at their defaults; never NULL. Free them with distkv_options_free. Thread-safe;
 * the options themselves may be changed by one thread at a time.
 */
distkv_options *distkv_options_new(void);

/**
 * Frees options. NULL does nothing.
 */
void distkv_options_free(distkv_options *options);

/**
 * Node: where to listen, "IP:PORT"; port 0 picks a free one. Default: "127.0.0.1:0". The text is
 * copied, and checked when the node is opened.
 */
distkv_error *distkv_options_set_listen(distkv_options *options, const char *listen);

/**
 * Node: what others are told to dial, "HOST:PORT". Default: the address listened on. The text is
 * copied, and checked when the node is opened.
 */
distkv_error *distkv_options_set_advertise(distkv_options *options, const char *advertise);

/**
 * Node: the directory that holds its identity, log and data. Default: none, the node keeps all in
 * memory and is forgotten with its process. The path is copied; it may be any bytes.
 */
distkv_error *distkv_options_set_data_dir(distkv_options *options, const char *data_dir);

/**
 * Node: adds the address of a member, "HOST:PORT", that may be asked to let the node in. Default:
 * none, the node founds a cluster of its own if its directory is empty. The text is copied, and
 * checked when the node is opened.
 */
distkv_error *distkv_options_add_join(distkv_options *options, const char *address);

/**
 * Node: whether to found a cluster although there are addresses to join, if none of them belongs to
 * one. Default: false.
 */
distkv_error *distkv_options_set_bootstrap(distkv_options *options, bool bootstrap);

/**
 * Node: how many partitions its cluster has, a power of two from 1 to 4096; fixed at the founding.
 * Default: 64 for a founder; a joining node takes what the cluster has.
 */
distkv_error *distkv_options_set_partitions(distkv_options *options, uint32_t partitions);

/**
 * Node: how many nodes hold each partition, 1 to 9; fixed at the founding. Default: 3 for a founder;
 * a joining node takes what the cluster has.
 */
distkv_error *distkv_options_set_replication_factor(distkv_options *options,
                                                    uint32_t replication_factor);

/**
 * Node: how many virtual nodes a node of weight 1 has on the ring, 1 to 4096; fixed at the founding.
 * Default: 64 for a founder; a joining node takes what the cluster has.
 */
distkv_error *distkv_options_set_vnodes(distkv_options *options,
                                        uint32_t vnodes);

/**
 * Node: its failure zone (rack, data centre). A zone repeats among the nodes of a partition only
 * when no other is left. Default: none. The text is copied.
 */
distkv_error *distkv_options_set_zone(distkv_options *options, const char *zone);

/**
 * Node: its share of the data against others', 0.01 to 100. Default: 1.
 */
distkv_error *distkv_options_set_weight(distkv_options *options, double weight);

/**
 * Node: bytes of memory for what it stores: with a data directory for caches and tables that are not
 * written out yet, without one for all keys and values. 16 MiB to 1 TiB. Default: 512 MiB.
 */
distkv_error *distkv_options_set_memory_limit(distkv_options *options,
                                              uint64_t bytes);

/**
 * Node: bytes that its log of all replicas may take. 64 MiB to 1 TiB. Default: 1 GiB.
 */
distkv_error *distkv_options_set_log_budget(distkv_options *options, uint64_t bytes);

/**
 * Node: bytes of disk held back to clear up with when it is full, a sixteenth of the file system at
 * most. 0, or 1 MiB to 1 TiB. Default: 256 MiB.
 */
distkv_error *distkv_options_set_disk_reserve(distkv_options *options, uint64_t bytes);

/**
 * Node: bytes a second that it sends of snapshots to other replicas. 1 MiB to just below 4 GiB.
 * Default: 16 MiB.
 */
distkv_error *distkv_options_set_snapshot_rate(distkv_options *options, uint64_t bytes_a_second);

/**
 * Node: bytes a second that are written to disk in the background. 1 MiB to 16 GiB. Default: 256 MiB.
 */
distkv_error *distkv_options_set_compaction_rate(distkv_options *options,
                                                 uint64_t bytes_a_second);

/**
 * Tuning: replicas on their way to one node at a time, 1 to 64. Default: stays as it is, 4 at first.
 */
distkv_error *distkv_options_set_moves_per_node(distkv_options *options,
                                                uint32_t moves);

/**
 * Tuning: bytes a second that each node sends of replicas, 1 MiB to just below 4 GiB; a node whose own
 * snapshot rate is lower keeps to that. 0: each node's own. Default: stays as it is, 0 at first.
 */
distkv_error *distkv_options_set_move_rate(distkv_options *options,
                                           uint64_t bytes_a_second);

/**
 * Tuning: whether no more moves are to begin; those under way are finished. Default: stays as it is,
 * false at first.
 */
distkv_error *distkv_options_set_paused(distkv_options *options,
                                        bool paused);

/**
 * Tuning: milliseconds without a link after which a node counts as dead, and its replicas are made
 * anew on others; 1,000 to 86,400,000. Default: stays as it is, 300,000 at first.
 */
distkv_error *distkv_options_set_dead_node_timeout_ms(distkv_options *options, uint64_t timeout_ms);

/**
 * Tuning: if this part of the nodes or more vanishes at once, none of it is taken for dead; 0.001 to
 * 1.001, which takes any number for dead. It is kept in thousandths. Default: stays as it is, 0.5 at
 * first.
 */
distkv_error *distkv_options_set_max_dead_fraction(distkv_options *options,
                                                   double fraction);

/**
 * Call: a put or delete is done only if the key has this revision; an absent key has revision 0. Else it
 * answers DISTKV_CONFLICT, with the revision in force (distkv_error_revision). Default: whatever it has.
 */
distkv_error *distkv_options_set_if_revision(distkv_options *options,
                                             uint64_t revision);

/**
 * Call: whether a get may trust the leader's lease rather than have the leader ask a majority: as fresh as
 * long as the clocks of the nodes run at nearly the same rate. Default: false.
 */
distkv_error *distkv_options_set_lease_reads(distkv_options *options,
                                             bool lease);

/**
 * How long, in milliseconds and at least 1, the call may take that is given these options: opening a
 * node (default: 60,000), opening a client (default: 5,000), or a call of a client. What a client
 * was opened with is also the default of its calls.
 */
distkv_error *distkv_options_set_timeout_ms(distkv_options *options,
                                            uint32_t timeout_ms);

/**
 * Starts a node and blocks until it is a member of a cluster and can serve. Call it as
 * distkv_node_open(options, &node), which passes the version.
 *
 * @param api_version DISTKV_API_VERSION, as the program was compiled with.
 * @param options     The node's settings; NULL for the defaults: a node in memory, on a free port of
 *                    the loopback interface, that founds a cluster. Read during the call only.
 * @param node        Receives the node, NULL on failure. Stop it with distkv_node_close, free it with
 *                    distkv_node_free.
 * @return NULL, or DISTKV_INVALID_ARGUMENT (a setting out of range, an address or directory in use,
 * settings other than the cluster's), DISTKV_WRONG_CLUSTER, DISTKV_UNAVAILABLE (nobody to join
 * answered in time), DISTKV_CORRUPTION, DISTKV_STORAGE_FULL, DISTKV_UNSUPPORTED (the library is older
 * than the header), DISTKV_INTERNAL. A failure leaves nothing running. Thread-safe.
 */
distkv_error *distkv_node_open_v(uint32_t api_version,
                                 const distkv_options *options,
                                 distkv_node **node);

/**
 * The node's id: 16 hexadecimal digits, NUL-terminated.
 *
 * @param id Receives the text. It belongs to the node and is valid until distkv_node_free.
 * @return NULL, or DISTKV_INVALID_ARGUMENT, DISTKV_CLOSED, DISTKV_FORKED. Thread-safe.
 */
distkv_error *distkv_node_id(const distkv_node *node, const char **id);

/**
 * The id of the cluster the node belongs to: 32 hexadecimal digits, NUL-terminated.
 *
 * @param cluster Receives the text. It belongs to the node and is valid until distkv_node_free.
 * @return NULL, or DISTKV_INVALID_ARGUMENT, DISTKV_CLOSED, DISTKV_FORKED. Thread-safe.
 */
distkv_error *distkv_node_cluster(const distkv_node *node, const char **cluster);

/**
 * The address that others are told to dial: "HOST:PORT", NUL-terminated.
 *
 * @param address Receives the text. It belongs to the node and is valid until distkv_node_free.
 * @return NULL, or DISTKV_INVALID_ARGUMENT, DISTKV_CLOSED, DISTKV_FORKED. Thread-safe.
 */
distkv_error *distkv_node_address(const distkv_node *node, const char **address);

/**
 * A client over this node, with no network between them.
 *
 * @param client Receives the client, NULL on failure. Each call makes one more handle, to be freed
 *               with distkv_client_free, before or after the node; once the node is closed, calls on
 *               it answer DISTKV_CLOSED.
 * @return NULL, or DISTKV_INVALID_ARGUMENT, DISTKV_CLOSED, DISTKV_FORKED. Thread-safe.
 */
distkv_error *distkv_node_client(const distkv_node *node,
                                 distkv_client **client);

/**
 * Has the node leave its cluster, and blocks until what it holds has gone to others and it is no longer
 * a member. It is then to be closed and freed. It never becomes a member again; with an empty directory
 * it is a new node.
 *
 * @param timeout_ms How long to wait at most, in milliseconds; 0 for no bound. After DISTKV_TIMEOUT the
 *                   node goes on leaving; calling again waits on.
 * @return NULL, or DISTKV_INVALID_ARGUMENT (such as nobody left to hold what it holds),
 * DISTKV_UNAVAILABLE, DISTKV_TIMEOUT, DISTKV_CLOSED, DISTKV_FORKED, DISTKV_WOULD_DEADLOCK,
 * DISTKV_CANCELLED, DISTKV_INTERNAL. Thread-safe.
 */
distkv_error *distkv_node_leave(const distkv_node *node,
                                uint32_t timeout_ms);

/**
 * Blocks until the node is no longer a member of its cluster, because it has left or was removed, by
 * whomever. It is then to be closed and freed.
 *
 * @param timeout_ms How long to wait at most, in milliseconds; 0 for no bound.
 * @param departed   Receives whether it is no longer a member, false if the time was up and on failure.
 * @return NULL, or DISTKV_INVALID_ARGUMENT, DISTKV_CLOSED, DISTKV_FORKED, DISTKV_WOULD_DEADLOCK,
 * DISTKV_CANCELLED. Thread-safe.
 */
distkv_error *distkv_node_wait_departed(const distkv_node *node,
                                        uint32_t timeout_ms,
                                        bool *departed);

/**
 * Stops the node and blocks until all that was acknowledged is on disk and its threads are gone.
 * Calls under way end; later ones on this handle answer DISTKV_CLOSED. The handle is still to be
 * freed. Closing twice is no error; a second close waits for the first.
 *
 * @return NULL, or DISTKV_INVALID_ARGUMENT, DISTKV_FORKED, or what went wrong while closing (the node
 * is closed all the same). Thread-safe.
 */
distkv_error *distkv_node_close(const distkv_node *node);

/**
 * Frees a node, and closes it first if that was not done, as distkv_node_close would; what went wrong
 * then is lost. NULL does nothing; neither does a node made before a fork, in the child. No other
 * thread may be using the handle.
 */
void distkv_node_free(distkv_node *node);

/**
 * Connects a client to a cluster and blocks until a member has answered. Call it as
 * distkv_client_open(endpoints, options, &client), which passes the version.
 *
 * @param api_version DISTKV_API_VERSION, as the program was compiled with.
 * @param endpoints   Members to ask, "HOST:PORT", several separated by commas; NUL-terminated. The
 *                    client finds the others by itself. Read during the call only.
 * @param options     The client's settings, NULL for the defaults. Read during the call only.
 * @param client      Receives the client, NULL on failure. Free it with distkv_client_free.
 * @return NULL, or DISTKV_INVALID_ARGUMENT (an address that does not parse), DISTKV_UNAVAILABLE
 * (nobody answered in time), DISTKV_UNSUPPORTED (the library is older than the header),
 * DISTKV_INTERNAL. Thread-safe.
 */
distkv_error *distkv_client_open_v(uint32_t api_version,
                                   const char *endpoints,
                                   const distkv_options *options,
                                   distkv_client **client);

/**
 * Sets the value of a key, and blocks until it is safe on a majority of the key's replicas.
 *
 * @param key      1 byte to 16 KiB. Borrowed for the call.
 * @param value    0 bytes to 8 MiB. Borrowed for the call.
 * @param options  The call's settings (timeout, if_revision), NULL for the client's. Read during the call only.
 * @param revision Receives the value's revision, 0 on failure. May be NULL.
 * @return NULL, or DISTKV_INVALID_ARGUMENT (such as an empty key), DISTKV_TOO_LARGE,
 * DISTKV_UNAVAILABLE, DISTKV_TIMEOUT, DISTKV_OVERLOADED, DISTKV_STORAGE_FULL, DISTKV_CLOSED,
 * DISTKV_FORKED, DISTKV_WOULD_DEADLOCK, DISTKV_CANCELLED, DISTKV_SESSION_EXPIRED, DISTKV_INTERNAL; and
 * DISTKV_CONFLICT if the key has another revision than if_revision, and nothing has changed. Thread-safe.
 */
distkv_error *distkv_client_put(const distkv_client *client,
                                distkv_slice key,
                                distkv_slice value,
                                const distkv_options *options,
                                uint64_t *revision);

/**
 * Reads the value of a key, as of now: every write acknowledged before the call is seen. An absent
 * key is no error.
 *
 * @param key      1 byte to 16 KiB. Borrowed for the call.
 * @param options  The call's settings (timeout, lease_reads), NULL for the client's. Read during the call only.
 * @param found    Receives whether the key has a value, false on failure. May be NULL.
 * @param value    Receives the value, NULL if the key is absent and on failure; an empty value is not
 *                 NULL. Free it with distkv_bytes_free.
 * @param revision Receives the revision that wrote the value, 0 if the key is absent and on failure.
 *                 May be NULL.
 * @return NULL, or DISTKV_INVALID_ARGUMENT (such as an empty key), DISTKV_TOO_LARGE,
 * DISTKV_UNAVAILABLE, DISTKV_TIMEOUT, DISTKV_OVERLOADED, DISTKV_CLOSED, DISTKV_FORKED,
 * DISTKV_WOULD_DEADLOCK, DISTKV_CANCELLED, DISTKV_INTERNAL. Thread-safe.
 */
distkv_error *distkv_client_get(const distkv_client *client,
                                distkv_slice key,
                                const distkv_options *options,
                                bool *found,
                                distkv_bytes **value,
                                uint64_t *revision);

/**
 * Removes a key, and blocks until that is safe on a majority of the key's replicas. An absent key is
 * no error.
 *
 * @param key     1 byte to 16 KiB. Borrowed for the call.
 * @param options The call's settings (timeout, if_revision), NULL for the client's. Read during the call only.
 * @param existed Receives whether the key had a value, false on failure. May be NULL.
 * @return As distkv_client_put. Thread-safe.
 */
distkv_error *distkv_client_delete(const distkv_client *client,
                                   distkv_slice key,
                                   const distkv_options *options,
                                   bool *existed);

/**
 * Closes a client: calls under way end with DISTKV_CLOSED or DISTKV_CANCELLED, later ones on this
 * handle answer DISTKV_CLOSED. The handle is still to be freed. Other clients, and the node if there
 * is one in this process, go on. Closing twice is no error; a second close waits for the first.
 *
 * @return NULL, or DISTKV_INVALID_ARGUMENT, DISTKV_FORKED. Thread-safe.
 */
distkv_error *distkv_client_close(const distkv_client *client);

/**
 * Frees a client, and closes it first if that was not done. NULL does nothing; neither does a client
 * made before a fork, in the child. No other thread may be using the handle.
 */
void distkv_client_free(distkv_client *client);

/**
 * Who holds and leads how much, and the moves under way, as the node that answers sees it: a JSON
 * object {"epoch", "partitions", "replication_factor", "nodes": [{"id", "address", "state", "weight",
 * "zone", "replicas", "leaders", "bytes", "target"}], "moves": [{"partition", "from", "to", "bytes",
 * "sent"}], "tuning"}; later versions may add to it.
 *
 * @param json Receives the text, in UTF-8 and not NUL-terminated, NULL on failure. Free it with
 *             distkv_bytes_free.
 * @return NULL, or DISTKV_INVALID_ARGUMENT, DISTKV_UNAVAILABLE, DISTKV_CLOSED, DISTKV_FORKED,
 * DISTKV_WOULD_DEADLOCK, DISTKV_CANCELLED, DISTKV_UNSUPPORTED (the node is of an older version),
 * DISTKV_INTERNAL. Thread-safe.
 */
distkv_error *distkv_client_ring_json(const distkv_client *client,
                                      distkv_bytes **json);

/**
 * Which moves are to come; or would be, if nodes came and went. Changes nothing. A JSON object {"epoch",
 * "moves": [{"partition", "from", "to", "bytes"}], "bytes", "seconds", "nodes": [{"id", "now",
 * "then"}]}; later versions may add to it. The first newcomer is called "new-1".
 *
 * @param with    The nodes that would come, separated by commas: the weight of each, 0.01 to 100, and if
 *                it is in a zone a colon and the zone, as in "1:rack-2,0.5". A zone with a comma cannot be
 *                asked about. NULL or "": none. Borrowed for the call.
 * @param without The ids of the members that would leave, separated by commas. NULL or "": none. Borrowed
 *                for the call.
 * @param options The call's settings (timeout), NULL for the client's. Read during the call only.
 * @param json    Receives the text, in UTF-8 and not NUL-terminated, NULL on failure. Free it with
 *                distkv_bytes_free.
 * @return NULL, or DISTKV_INVALID_ARGUMENT, DISTKV_NOT_FOUND (an id of no member), DISTKV_UNAVAILABLE,
 * DISTKV_TIMEOUT, DISTKV_CLOSED, DISTKV_FORKED, DISTKV_WOULD_DEADLOCK, DISTKV_CANCELLED,
 * DISTKV_UNSUPPORTED, DISTKV_INTERNAL. Thread-safe.
 */
distkv_error *distkv_client_plan_json(const distkv_client *client,
                                      const char *with,
                                      const char *without,
                                      const distkv_options *options,
                                      distkv_bytes **json);

/**
 * Has a member leave: its replicas go to others, then it is removed from the cluster. Returns once that
 * is decided; distkv_client_ring_json shows how far it is. Asking again changes nothing.
 *
 * @param node    The id of the member, 16 hexadecimal digits, NUL-terminated. Borrowed for the call.
 * @param options The call's settings (timeout), NULL for the client's. Read during the call only.
 * @return NULL, or DISTKV_INVALID_ARGUMENT (such as nobody left to hold what it holds), DISTKV_NOT_FOUND
 * (an id of no member), DISTKV_UNAVAILABLE, DISTKV_TIMEOUT, DISTKV_CLOSED, DISTKV_FORKED,
 * DISTKV_WOULD_DEADLOCK, DISTKV_CANCELLED, DISTKV_INTERNAL. Thread-safe.
 */
distkv_error *distkv_client_leave(const distkv_client *client,
                                  const char *node,
                                  const distkv_options *options);

/**
 * Removes a member that will not come back; others get its replicas. It never becomes a member again
 * under that id.
 *
 * @param node    The id of the member, 16 hexadecimal digits, NUL-terminated. Borrowed for the call.
 * @param force   Whether to remove it although it is up, has the last copy of something, or is needed for
 *                a majority of some partition's replicas; what it alone had is lost then.
 * @param options The call's settings (timeout), NULL for the client's. Read during the call only.
 * @return As distkv_client_leave; DISTKV_INVALID_ARGUMENT also for what needs force. Thread-safe.
 */
distkv_error *distkv_client_remove(const distkv_client *client,
                                   const char *node,
                                   bool force,
                                   const distkv_options *options);

/**
 * Has a partition led by another one of the nodes that hold it. Returns once that is decided; the leader
 * follows within a moment, once the node is up to date.
 *
 * @param partition The partition, counted from 0.
 * @param node      The id of the member, 16 hexadecimal digits, NUL-terminated. Borrowed for the call.
 * @param options   The call's settings (timeout), NULL for the client's. Read during the call only.
 * @return As distkv_client_leave; DISTKV_NOT_FOUND if there is no such partition or the node does not
 * hold it. Thread-safe.
 */
distkv_error *distkv_client_transfer(const distkv_client *client,
                                     uint32_t partition,
                                     const char *node,
                                     const distkv_options *options);

/**
 * Changes how eagerly the cluster moves replicas and what it takes for dead: whatever of
 * distkv_options_set_moves_per_node, _move_rate, _paused, _dead_node_timeout_ms and _max_dead_fraction was
 * set in the options. The rest stays as it is.
 *
 * @param options What to change, and the call's settings (timeout); NULL changes nothing. Read during the
 *                call only.
 * @param json    Receives what it is then, a JSON object {"moves_per_node", "move_rate", "paused",
 *                "dead_node_timeout_ms", "max_dead_milli"} (thousandths) to which later versions may add,
 *                in UTF-8 and not NUL-terminated; NULL on failure. Free it with distkv_bytes_free. May be
 *                NULL.
 * @return As distkv_client_leave; DISTKV_INVALID_ARGUMENT for a setting out of range. Thread-safe.
 */
distkv_error *distkv_client_tune(const distkv_client *client,
                                 const distkv_options *options,
                                 distkv_bytes **json);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* DISTKV_H */
