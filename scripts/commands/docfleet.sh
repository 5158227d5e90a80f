# shellcheck shell=bash

usage() {
    cat <<'TEXT'
./dev docfleet [ARGUMENT…]
    The docfleet program, with the configuration of the running stack.

Examples:
    ./dev docfleet status
    ./dev docfleet audit
    ./dev docfleet dlq --help
    ./dev docfleet -- --help

Exit code: that of the program.
TEXT
}

run() {
    [[ ${1:-} != -- ]] || shift
    state_open "$DEMO_STATE"
    need_rust
    fleet_find
    [[ -x $BIN/docfleet && -f $STATE/$CONFIG_NAME ]] || die 'nothing was started yet; ./dev up does'
    DOCFLEET_CONFIG=$STATE/$CONFIG_NAME exec "$BIN/docfleet" "$@"
}
