# shellcheck shell=bash
# Servers and fleet together: what up, demo and down share.

DEMO_STATE=demo
# Further programs, for a demo that asks for more.
DEMO_NEEDS=''

# stack_up: afterwards the whole fleet answers. What is up already stays up.
stack_up() {
    checkout_is_usable
    install_missing "$DEMO_NEEDS"
    fetch_servers
    servers_ports
    fleet_ports
    ports_save
    # The build needs the processors, the servers mostly wait: side by side. What they say comes after the build,
    # whose progress bar it would tear.
    step 'starting the servers'
    (servers_up) 2>"$STATE/servers.log" &
    local servers=$!
    fleet_build
    wait "$servers" || { cat "$STATE/servers.log" >&2 && die 'not all servers started'; }
    cat "$STATE/servers.log" >&2
    config_write
    step 'database, topics, schemas'
    docfleet setup --wait 60s >&2 || die 'the setup failed'
    step 'starting the fleet'
    fleet_up
}

stack_down() {
    fleet_down
    servers_down
}

stack_running() { any_running "${FLEET[@]}" "$RECEIVER" "$DEMO_RECEIVER" "${SERVERS[@]}"; }

# Characters that a Java class path, a URL or a configuration file would take for something else.
checkout_is_usable() {
    [[ $ROOT != *[:,\;\"\'\\%#?*]* ]] || die "the path of this checkout, $ROOT, holds one of : , ; \" ' \\ % # ? *, which Java or a URL would misread"
}

# stack_addresses [TENANT]
stack_addresses() {
    local name api=http://127.0.0.1:${PORT[api]} receiver=$RECEIVER header=''
    [[ -z ${1:-} ]] || receiver=$DEMO_RECEIVER header="-H 'X-Tenant-Id: $1' "
    say ''
    say "${BOLD}Where to look next${PLAIN}"
    look 'the documents' "curl $header$api/v1/documents"
    look 'all that the API can do' "$api/openapi.yaml"
    look 'lag, retries, dead letters' './dev docfleet status'
    look 'nothing lost or doubled?' './dev docfleet audit'
    look 'what partners are told' "./dev logs $receiver"
    look 'what a worker says' './dev logs ocr -f'
    look 'the database' './dev sql'
    look 'the configuration' "${STATE#"$ROOT"/}/$CONFIG_NAME"
    for name in "${FLEET[@]}"; do look "metrics of $name" "http://127.0.0.1:${PORT[$name]}/metrics"; done
}

look() { printf '  %-30s %s\n' "$@" >&2; }
