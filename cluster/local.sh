#!/usr/bin/env bash
# A Ray head on this machine for `ray job submit`, in the foreground; Ctrl-C ends it and all that runs on it.
#   bash cluster/local.sh [options of `ray start`, which win over those below]
# Whoever holds the token in ~/.ray/auth_token (or $RAY_AUTH_TOKEN) may submit jobs, from this machine.
set -euo pipefail
export RAY_AUTH_MODE="${RAY_AUTH_MODE:-token}" RAY_USAGE_STATS_ENABLED="${RAY_USAGE_STATS_ENABLED:-0}"
# A stopped job gets 30 s to write down how far it is; Ray's default is 3.
export RAY_JOB_STOP_WAIT_TIME_S="${RAY_JOB_STOP_WAIT_TIME_S:-30}"
# On Ctrl-C nothing waits for work to move to other nodes: there are none.
export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S="${RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S:-0}"

if [ "$RAY_AUTH_MODE" = token ]; then
    (umask 077 && ray get-auth-token --generate > /dev/null)   # Ray itself would let everybody read it
fi
# Two CPUs more than there are, as `raydc run` does: coordination hardly computes, and must never wait for an actor.
# 256 MiB of object store are enough: weights and images travel as files.
exec ray start --head --block --port=6379 --dashboard-port=8265 \
    --num-cpus=$(($(getconf _NPROCESSORS_ONLN) + 2)) --object-store-memory=$((256 * 1024 * 1024)) "$@"
