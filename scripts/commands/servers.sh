# shellcheck shell=bash

usage() {
    cat <<'TEXT'
./dev servers STATE up | down | forget | config | start NAME | kill NAME | stop NAME
    Servers without the fleet, in .docfleet/STATE: for tests that must break them, and for work on one crate.
    NAME is postgres, redis, clamd, kafka, registry or minio.

    up       start all, and print the path of the configuration that names their addresses
    config   print that path
    start    start one again, on its port and with its data
    kill     SIGKILL, as a crash would
    stop     ask it to end
    down     stop all
    forget   stop all, and remove their data

Examples:
    DOCFLEET_TEST_CONFIG=$(./dev servers mine up) cargo test -p docfleet-pipeline
    ./dev servers mine kill kafka; ./dev servers mine start kafka
    ./dev servers mine down

Exit code: 0, 1 when a server did not start, 2 for wrong usage.
TEXT
}

run() {
    (($# >= 2)) || usage_error 'servers needs a state and an action; see ./dev servers --help'
    local state=$1 action=$2 name=${3:-}
    [[ $state =~ ^[a-z][a-z0-9-]*$ && $state != tools && $state != fresh ]] || usage_error "'$state' can not be the name of a state"
    case $action in
        start | kill | stop) [[ -n $name && " ${SERVERS[*]} ${MORE_SERVERS[*]} " == *" $name "* ]] || usage_error "$action needs one of: ${SERVERS[*]}" ;;
        up | down | forget | config) ;;
        *) usage_error "servers does not know '$action'" ;;
    esac
    state_open "$state"
    # The faults of chaos are about the others.
    state_is_for_chaos || servers_with_bucket
    state_lock
    "servers_action_$action" "$name"
}

servers_action_up() {
    checkout_is_usable
    install_missing "$NEEDS_OF_TESTS"
    fetch_servers
    servers_ports
    ports_save
    any_running "${SERVERS[@]}" || at_exit servers_down_unless_up
    servers_up
    UP=1
    config_write
    servers_action_config
}

servers_down_unless_up() { [[ -n ${UP:-} ]] || servers_down; }

servers_action_config() { printf '%s\n' "$STATE/$CONFIG_NAME"; }

servers_action_start() {
    [[ -n ${PORT[$1]:-} ]] || die 'these servers were never up'
    java_is_there || die 'Java is missing; start the servers by up'
    server_up "$1"
}

servers_action_kill() { murder "$STATE/$1"; }

servers_action_stop() { server_down "$1"; }

servers_action_down() { servers_down; }

servers_action_forget() {
    servers_down
    servers_forget
}
