#!/bin/sh
# Runs the compiler as it is. That this file lies in another place in each clone is its whole purpose:
# see env.sh.
exec "$@"
