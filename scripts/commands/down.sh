# shellcheck shell=bash

usage() {
    cat <<'TEXT'
./dev down
    Stops what ./dev up started: first the API, then the workers, which finish what they hold, then the servers.
    The data stay. Also right after a crash or a reboot; not running is no error.

Exit code: 0.
TEXT
}

run() {
    (($# == 0)) || usage_error 'down takes no arguments'
    state_open "$DEMO_STATE"
    state_lock
    stack_running || { say 'nothing is running' && return 0; }
    stack_down
    good stopped
}
