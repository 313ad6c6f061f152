#!/usr/bin/env bash
# Compiles every C example and test against a built tree (default: dist/), runs each, and runs each
# again under valgrind, where a leak or a bad access is a failure. Usage: scripts/test-c.sh [DIST]
set -euo pipefail
dist=$(realpath "${1:-$(dirname "$0")/../dist}")
cd "$(dirname "$0")/.."
repo=$PWD

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0
failed=0

# Runs a command whose output matters only when it fails, in an empty directory. What it runs is
# chained by `&&`: bash does not end a function at its first failure where the outcome is asked for.
attempt() {
    local title=$1 code=0
    shift
    rm -rf "$work/room"
    mkdir "$work/room"
    (cd "$work/room" && "$@") >"$work/log" 2>&1 </dev/null || code=$?
    if [ "$code" -eq 0 ]; then
        passed=$((passed + 1))
        printf 'ok      %s\n' "$title"
    else
        failed=$((failed + 1))
        printf 'FAILED  %s (exit code %s)\n' "$title" "$code"
        sed 's/^/        /' "$work/log"
        return 1
    fi
}

# The name that programs record at link time, that dlclose leaves the library's threads their code, and
# the symbols that programs may find: all three are promises.
dynamic() {
    local found
    found=$(readelf --dynamic --wide "$dist/lib/libdistkv.so")
    printf '%s\n' "$found"
    grep -qF 'soname: [libdistkv.so.0]' <<<"$found" && grep -qw 'NODELETE' <<<"$found"
}
symbols() {
    diff "$repo/bindings/c/symbols.txt" \
        <(nm -D --defined-only "$dist/lib/libdistkv.so" | awk '{ print $3 }' | LC_ALL=C sort)
}

# Through pkg-config, as a user would, so that the .pc file is tested too.
export PKG_CONFIG_PATH=$dist/lib/pkgconfig
compile() {
    local flags
    read -r -a flags < <(pkg-config --cflags --libs distkv)
    gcc -std=c11 -g -Wall -Wextra -Werror "$1" -o "$2" \
        "${flags[@]}" -lpthread "-Wl,-rpath,$dist/lib"
}
compile_static() {
    local cflags libs
    read -r -a cflags < <(pkg-config --cflags distkv)
    read -r -a libs < <(pkg-config --static --libs distkv)
    gcc -std=c11 -Wall -Wextra -Werror "$1" -o "$2" "${cflags[@]}" "${libs[@]/#-ldistkv/-l:libdistkv.a}" &&
        ! readelf -d "$2" | grep -F 'libdistkv.so'
}
header_alone() {
    local include=$dist/include/distkv.h
    gcc -std=c99 -pedantic -Wall -Wextra -Werror -fsyntax-only -x c "$include" &&
        g++ -std=c++11 -pedantic -Wall -Wextra -Werror -fsyntax-only -x c++ "$include"
}

attempt 'soname, never unmapped' dynamic || true
attempt 'exported symbols' symbols || true
attempt 'header alone, in C99 and C++11' header_alone || true

shopt -s nullglob
sources=(examples/c/*.c bindings/c/tests/*.c)
[ "${#sources[@]}" -gt 0 ] || {
    printf 'test-c: no C sources found\n' >&2
    exit 1
}
for source in "${sources[@]}"; do
    program=$work/$(basename "$source" .c)
    attempt "$source compiles" compile "$repo/$source" "$program" || continue
    attempt "$source" timeout 300 "$program" || true
    attempt "$source, valgrind" timeout 300 valgrind --quiet --leak-check=full \
        --show-leak-kinds=definite,indirect,possible \
        --errors-for-leak-kinds=definite,indirect,possible --error-exitcode=9 "$program" || true
done

if attempt 'the static library links' compile_static "$repo/examples/c/quickstart.c" "$work/static"; then
    attempt 'examples/c/quickstart.c, static' timeout 300 "$work/static" || true
fi

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
