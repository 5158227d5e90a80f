# shellcheck shell=bash

usage() {
    cat <<'TEXT'
./dev up
    Installs what is missing, builds the fleet, starts every server and process on free ports of this machine, and
    leaves them running. What runs already stays; what was rebuilt is restarted. The data are kept from run to run.

    Everything lies in .docfleet/demo. Stop with ./dev down; throw away with ./dev clean.

    DOCFLEET_INSTALL=no ./dev up      installs no package; says what is missing instead
    ./dev demo                        the same, with sample documents sent through

Exit code: 0 when everything answers, 1 otherwise (what was started by this call is stopped again).
TEXT
}

run() {
    (($# == 0)) || usage_error 'up takes no arguments'
    state_open "$DEMO_STATE"
    state_lock
    stack_running || at_exit stop_unless_up
    stack_up
    UP=1
    stack_addresses
}

stop_unless_up() { [[ -n ${UP:-} ]] || { say 'stopping what was started' && stack_down; }; }
