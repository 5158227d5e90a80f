# shellcheck shell=bash

usage() {
    cat <<'TEXT'
./dev clean
    Stops everything of this checkout and removes .docfleet: data, logs, Kafka, the registry, Java. Packages of the
    distribution, cargo's target directory and the caches of Maven, pip and cargo stay.

Exit code: 0, or 1 when something can not be removed.
TEXT
}

run() {
    (($# == 0)) || usage_error 'clean takes no arguments'
    local dir
    chaos_lock
    for dir in "$HOME_OF_STATES"/*/; do
        dir=${dir%/}
        [[ -f $dir/ports ]] || continue
        state_open "${dir##*/}"
        state_lock
        stack_down
        state_unlock
    done
    # Through a mount that was left, rm would remove what is not ours.
    ! grep -q " $HOME_OF_STATES/" /proc/self/mounts || die "something is mounted below .docfleet: ./dev fresh --umount first"
    rm -rf "$HOME_OF_STATES"
    good removed
}
