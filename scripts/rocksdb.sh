#!/usr/bin/env bash
# Builds the RocksDB archive that every profile, clone and wheel links, once for each version, into
# the user's cache, and prints its directory (holding lib/librocksdb.a and include/).
#
# Why not the crate's own build: it takes three times as long, and runs again for every profile and
# every target directory. The source is the one inside the crate, so the two cannot differ.
set -euo pipefail

manifest=${1:-$(dirname "$0")/../Cargo.toml}
cache=${DISTKV_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/distkv}

source_of_crate() {
    cargo metadata --format-version 1 --locked --manifest-path "$manifest" |
        python3 -c '
import json, os, sys
for package in json.load(sys.stdin)["packages"]:
    if package["name"] == "librocksdb-sys":
        print(package["version"], os.path.dirname(package["manifest_path"]))
        break
else:
    sys.exit("librocksdb-sys is not in the lock file")
'
}

read -r version source < <(source_of_crate)
# Position-independent: what is linked into a shared library (libdistkv.so, the Python module) must be.
# The name says so, because an archive without it may lie in an older cache.
target=$cache/rocksdb-$version-$(uname -m)-pic
if [ -f "$target/lib/librocksdb.a" ]; then
    printf '%s\n' "$target"
    exit 0
fi

# One builder at a time; a second one waits here and then finds the archive.
mkdir -p "$cache"
exec 9>"$target.lock"
flock 9
if [ -f "$target/lib/librocksdb.a" ]; then
    printf '%s\n' "$target"
    exit 0
fi

portable=1
[ "$(uname -m)" = x86_64 ] && portable=x86-64-v2 # SSE4.2: hardware CRC32C

build=$target.build
printf 'building RocksDB (%s) once into %s: about 6 minutes on 2 cores\n' "$version" "$target" >&2
mkdir -p "$build"
cmake -S "$source/rocksdb" -B "$build" -G Ninja \
    -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++ \
    -DWITH_GFLAGS=OFF -DWITH_TESTS=OFF -DWITH_ALL_TESTS=OFF -DWITH_TOOLS=OFF \
    -DWITH_CORE_TOOLS=OFF -DWITH_BENCHMARK_TOOLS=OFF -DWITH_TRACE_TOOLS=OFF \
    -DROCKSDB_BUILD_SHARED=OFF -DWITH_LZ4=ON -DPORTABLE="$portable" -DFAIL_ON_WARNINGS=OFF \
    -DCMAKE_POSITION_INDEPENDENT_CODE=ON \
    -DCMAKE_UNITY_BUILD=ON -DCMAKE_UNITY_BUILD_BATCH_SIZE=12 >"$build.log" 2>&1 &&
    ninja -C "$build" rocksdb >>"$build.log" 2>&1 || {
    tail -n 40 "$build.log" >&2
    printf 'RocksDB did not build; the whole log is in %s\n' "$build.log" >&2
    exit 1
}

# The archive appears last and at once: its presence means that all of it is there.
mkdir -p "$target/lib"
cp -r "$source/rocksdb/include" "$target/"
cp "$build/librocksdb.a" "$target/lib/librocksdb.a.new"
mv "$target/lib/librocksdb.a.new" "$target/lib/librocksdb.a"
rm -rf "$build" "$build.log"
printf '%s\n' "$target"
