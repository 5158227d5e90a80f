# shellcheck shell=bash
# However ./dev ends (well, by error, Ctrl-C, a closed terminal, a signal), it first ends what it began.

AT_EXIT=()

# at_exit COMMAND: to be run at the end; the last one said comes first.
at_exit() { AT_EXIT=("$1" "${AT_EXIT[@]}"); }

ending() {
    local status=$? task
    trap '' INT TERM HUP
    trap - EXIT
    set +e
    end_children
    for task in "${AT_EXIT[@]}"; do $task; done
    exit "$status"
}

trap ending EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Compilers, tests, downloads; not the servers, which have sessions of their own.
end_children() {
    local children pid tries
    descendants $$
    children=$REPLY
    [[ -n $children ]] || return 0
    # shellcheck disable=SC2086 # a list
    kill -TERM $children 2>/dev/null
    for ((tries = 100; tries > 0; tries--)); do
        descendants $$
        [[ -n $REPLY ]] || return 0
        sleep 0.05
    done
    # shellcheck disable=SC2086
    for pid in $REPLY; do kill -KILL "$pid" 2>/dev/null; done
}

# attend COMMAND…: runs it so that a signal ends us at once, not only when the command is through.
attend() {
    "$@" </dev/null &
    wait $!
}
