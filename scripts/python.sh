#!/usr/bin/env bash
# Prints the Python to use: $PYTHON if set, otherwise the first one that is new enough.
set -euo pipefail

for python in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
    if command -v "$python" >/dev/null 2>&1 &&
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        command -v "$python"
        exit 0
    fi
done
printf 'no Python 3.11 or newer among: %s\n' "${PYTHON:-python3 python3.14 .. python3.11}" >&2
exit 1
