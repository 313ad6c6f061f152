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
