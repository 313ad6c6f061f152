# Source this before cargo: `. scripts/env.sh`. It sets, where you have not:
#
#   CARGO_TARGET_DIR   in the user's cache, so that a second clone compiles only our own crates
#   ROCKSDB_LIB_DIR,   the RocksDB that is built once for the user; without cmake, ninja or clang the
#   ROCKSDB_STATIC,    rocksdb crate builds its own (about three times as long, and again for each
#   ROCKSDB_INCLUDE_DIR  profile)
#
# A target directory serves one cargo at a time: two clones that build at once wait for each other.
#
# Cargo names what it compiles from a workspace by the path inside that workspace, so two clones in one
# target directory would take each other's results for their own wherever the files are old enough.
# It also goes by the workspace wrapper, so each clone has its own, one that does nothing; clippy,
# which puts itself in that place, goes by where its settings are.

distkv_scripts=$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")" && pwd)

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/distkv/target}"
export RUSTC_WORKSPACE_WRAPPER="$distkv_scripts/rustc.sh"
export CLIPPY_CONF_DIR="${distkv_scripts%/*}"

if [ -z "${ROCKSDB_LIB_DIR:-}" ]; then
    distkv_missing=
    for distkv_tool in cmake ninja clang clang++; do
        command -v "$distkv_tool" >/dev/null 2>&1 || distkv_missing="$distkv_missing $distkv_tool"
    done
    if [ -n "$distkv_missing" ]; then
        printf 'env: the rocksdb crate will build RocksDB itself (about 20 minutes), for want of:%s\n' \
            "$distkv_missing" >&2
    elif distkv_rocksdb=$("$distkv_scripts/rocksdb.sh"); then
        export ROCKSDB_LIB_DIR="$distkv_rocksdb/lib"
        export ROCKSDB_INCLUDE_DIR="$distkv_rocksdb/include"
        export ROCKSDB_STATIC=1
    else
        # No silent second try of 20 minutes: the reason stands above.
        printf 'env: RocksDB could not be prepared\n' >&2
        unset distkv_scripts distkv_missing distkv_tool distkv_rocksdb
        return 1
    fi
fi
unset distkv_scripts distkv_missing distkv_tool distkv_rocksdb
