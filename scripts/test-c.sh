#!/usr/bin/env bash
# Compiles every C example and test against the library in dist/, runs each, and runs each again
# under valgrind, where a leak or a bad access is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

dist=$PWD/dist
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0
failed=0

# Runs a command whose output matters only when it fails; an example gets an empty directory to be in.
attempt() {
    local title=$1
    shift
    local room=$work/room code=0
    rm -rf "$room"
    mkdir "$room"
    (cd "$room" && "$@") >"$work/log" 2>&1 </dev/null || code=$?
    if [ "$code" -eq 0 ]; then
        passed=$((passed + 1))
        printf 'ok      %s\n' "$title"
    else
        failed=$((failed + 1))
        printf 'FAILED  %s (exit code %s)\n' "$title" "$code"
        sed 's/^/        /' "$work/log"
    fi
}

# The name that programs record at link time, and the symbols they may find: both are promises.
soname() {
    local found
    found=$(readelf -d "$dist/lib/libdistkv.so" | sed -n 's/.*Library soname: \[\(.*\)\]/\1/p')
    [ "$found" = libdistkv.so.0 ] || {
        printf 'soname is `%s`, not libdistkv.so.0\n' "$found"
        return 1
    }
}
symbols() {
    diff <(sort "$OLDPWD/bindings/c/symbols.txt") \
        <(nm -D --defined-only "$dist/lib/libdistkv.so" | awk '{ print $3 }' | sort)
}
attempt 'soname' soname
attempt 'exported symbols' symbols

shopt -s nullglob
sources=(examples/c/*.c bindings/c/tests/*.c)
[ "${#sources[@]}" -gt 0 ] || {
    printf 'test-c: no C sources found\n' >&2
    exit 1
}

# Through pkg-config, as a user would: so the .pc file is tested too.
export PKG_CONFIG_PATH=$dist/lib/pkgconfig
read -r -a flags < <(pkg-config --cflags --libs distkv)

for source in "${sources[@]}"; do
    name=$(basename "$source" .c)
    program=$work/$name
    if ! gcc -std=c11 -D_POSIX_C_SOURCE=200809L -g -Wall -Wextra -Werror "$source" -o "$program" \
        "${flags[@]}" -lpthread "-Wl,-rpath,$dist/lib" >"$work/log" 2>&1; then
        failed=$((failed + 1))
        printf 'FAILED  %s does not compile\n' "$source"
        sed 's/^/        /' "$work/log"
        continue
    fi
    attempt "$source" timeout 300 "$program"
    attempt "$source, valgrind" timeout 300 valgrind --quiet --leak-check=full \
        --show-leak-kinds=definite,indirect,possible \
        --errors-for-leak-kinds=definite,indirect,possible --error-exitcode=9 "$program"
done

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
