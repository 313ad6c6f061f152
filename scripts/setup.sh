#!/usr/bin/env bash
# Makes a bare Debian (or Ubuntu) machine with Rust and Python ready to build, test and demonstrate
# distkv. Looks first and installs only what is missing: with nothing to do it takes well under a
# second. Where there is no apt-get it says what is missing and fails.
set -euo pipefail

rust_wanted=1.95
python_wanted=3.11
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

say() { printf 'setup: %s\n' "$*" >&2; }
die() {
    say "$*"
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# Whether version $1 is at least version $2.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

check_rust() {
    have cargo || die "cargo is missing: install Rust $rust_wanted or newer, for instance with rustup"
    local version
    version=$(cd "$here/.." && cargo --version) || die "cargo does not run; see its message above"
    version=${version#cargo }
    version=${version%% *}
    at_least "$version" "$rust_wanted" ||
        die "cargo $version is too old, $rust_wanted or newer is needed: \`rustup update stable\`"
    if ! (cd "$here/.." && cargo fmt --version && cargo clippy --version) >/dev/null 2>&1; then
        have rustup || die "rustfmt or clippy is missing, and there is no rustup to add them"
        say "adding rustfmt and clippy"
        (cd "$here/.." && rustup component add rustfmt clippy)
    fi
}

check_python() {
    PYTHON=$("$here/python.sh") || die "Python $python_wanted or newer is missing"
}

# The packages of everything that is missing, one a line.
missing_packages() {
    have cc || printf 'gcc\nlibc6-dev\n'
    have gcc || printf 'gcc\n'
    have g++ || printf 'g++\n'
    have make || printf 'make\n'
    have clang || printf 'clang\n'
    have cmake || printf 'cmake\n'
    have ninja || printf 'ninja-build\n'
    have valgrind || printf 'valgrind\n'
    # Tests fill small file systems of their own. The tools of the system stand where not everyone looks.
    (PATH=$PATH:/usr/sbin:/sbin have mkfs.ext4) || printf 'e2fsprogs\n'
    have mount || printf 'mount\n'
    have unshare || printf 'util-linux\n'
    have pkg-config || printf 'pkg-config\n'
    [ -e /usr/include/lz4.h ] || printf 'liblz4-dev\n'
    have_libclang || printf 'libclang-dev\n'
    have_clang_headers || printf 'clang\n'
    "$PYTHON" -c 'import venv, ensurepip' 2>/dev/null || printf 'python3-venv\n'
}

# bindgen loads libclang while it runs.
have_libclang() {
    local file
    for file in "${LIBCLANG_PATH:-/nowhere}"/libclang*.so* /usr/lib/llvm-*/lib/libclang[-.]*so* \
        /usr/lib/*/libclang[-.]*so* /usr/lib/libclang.so* /usr/lib64/libclang.so*; do
        [ -e "$file" ] && return 0
    done
    return 1
}

# The compiler's own headers (stddef.h and the like), which Debian keeps in a package of their own
# (libclang-common-N-dev) that clang depends on.
have_clang_headers() {
    have clang && [ -e "$(clang -print-resource-dir)/include/stddef.h" ]
}

install_packages() {
    have apt-get || die "please install these (Debian's names): $*; or, if you have them under" \
        "other names, run make with SKIP_SETUP=1"
    local root=()
    if [ "$(id -u)" != 0 ]; then
        have sudo || die "neither root nor sudo here, please install: $*"
        root=(sudo)
    fi
    say "installing $*"
    "${root[@]}" apt-get update -q >&2
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@" >&2
}

check_rust
check_python
mapfile -t packages < <(missing_packages | sort -u)
if [ "${#packages[@]}" -gt 0 ]; then
    install_packages "${packages[@]}"
    mapfile -t packages < <(missing_packages | sort -u)
    case " ${packages[*]} " in
    *' python3-venv '*) say "$PYTHON has no venv module; set PYTHON to one that has" ;;
    esac
    [ "${#packages[@]}" -eq 0 ] || die "still missing after the installation: ${packages[*]}"
fi
