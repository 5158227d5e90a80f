# shellcheck shell=bash

# shellcheck source=scripts/peers/bento.sh
source "$ROOT/scripts/peers/bento.sh"

usage() {
    cat <<'TEXT'
./dev bench pipeline [ARGUMENT…]
    Messages a second through consume, settle and relay, against a bare consume-and-produce loop of librdkafka and
    against the same SQL without Kafka, and against Bento where Go is there to build it, all in one run; prints the figures
    and their ratios. Built for release.
    Its servers are its own, in .docfleet/bench. Figures are only worth something on an idle machine.

Exit code: 0, or 1 when a measurement failed.
TEXT
}

run() {
    [[ ${1:-} == pipeline ]] || usage_error 'what shall be measured? There is: pipeline'
    shift
    state_open bench
    state_lock
    any_running "${SERVERS[@]}" || servers_forget
    at_exit servers_down
    checkout_is_usable
    install_missing
    fetch_servers
    bento_build
    export DOCFLEET_BENTO=$REPLY
    [[ -n $DOCFLEET_BENTO ]] || unset DOCFLEET_BENTO
    servers_ports
    ports_save
    step 'building for release'
    (cd "$ROOT" && attend without_lock cargo build --locked --release -p load-tests --bin bench-pipeline) || die 'the build failed'
    step 'starting the servers'
    servers_up
    config_write
    fleet_find
    step 'measuring'
    DOCFLEET_CONFIG=$STATE/$CONFIG_NAME attend "${BIN%/debug}/release/bench-pipeline" "$@"
}
