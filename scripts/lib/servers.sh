# shellcheck shell=bash
# The servers of one state: started side by side, stopped in the reverse order of their needs.
#
# servers/NAME.sh defines NAME_ports, NAME_prepare, NAME_launch, NAME_ready, perhaps NAME_after.

SERVERS=(postgres redis clamd kafka registry)
# Also where a bucket is asked for.
MORE_SERVERS=(minio)
SERVER_START_SECONDS_MAX=120
# PostgreSQL's "fast" end: sessions are cut, data is safe. By SIGTERM it would wait for every client.
declare -A STOP_SIGNAL=([postgres]=INT)

for name in "${SERVERS[@]}" "${MORE_SERVERS[@]}"; do
    # shellcheck source=/dev/null # they stand in scripts/servers
    source "$ROOT/scripts/servers/$name.sh"
done

# servers_with_bucket: from here on there is an S3 service, too.
servers_with_bucket() { SERVERS+=(minio); }

has_bucket() { [[ " ${SERVERS[*]} " == *' minio '* ]]; }

servers_ports() {
    local name
    for name in "${SERVERS[@]}"; do "${name}_ports"; done
}

# servers_up: the ports are chosen and everything is fetched before.
servers_up() {
    local name failed=0 jobs=() job
    # The registry needs PostgreSQL; the others need nobody.
    (server_up postgres && server_up registry) & jobs+=($!)
    for name in "${SERVERS[@]}"; do
        [[ $name == postgres || $name == registry ]] || { (server_up "$name") & jobs+=($!); }
    done
    for job in "${jobs[@]}"; do wait "$job" || failed=1; done
    ((failed == 0)) || die 'not all servers started'
}

# server_up NAME: in a subshell of its own. No "set -e" holds here, so every step says what follows from its failure.
server_up() {
    local name=$1 dir=$STATE/$1
    mkdir -p "$dir"
    if ! running "$dir"; then
        "${name}_prepare" && "${name}_launch" || return 1
    fi
    await_start "$name" $SERVER_START_SECONDS_MAX "${name}_ready" || return 1
    ! declare -F "${name}_after" >/dev/null || "${name}_after" || { bad "$name is up, but could not be prepared" && return 1; }
}

# await_start NAME SECONDS PROBE…: until PROBE succeeds; shows the log when it does not, or when the process has ended.
await_start() {
    local name=$1 seconds=$2 dir=$STATE/$1 began
    shift 2
    now_ms
    began=$REPLY
    until "$@"; do
        seconds_since "$began"
        if ((${REPLY%.*} >= seconds)) || ! running "$dir"; then
            bad "$name did not start; the end of its log, ${dir#"$ROOT"/}/log:"
            tail -n 15 "$dir/log" >&2
            return 1
        fi
        sleep 0.1
    done
    seconds_since "$began"
    good "$(printf '%-18s 127.0.0.1:%-5s  up in %s s' "$name" "${PORT[$name]}" "$REPLY")"
}

servers_down() {
    local name
    # What depends on others first, so that nobody logs errors over a server that has just left.
    server_down registry
    for name in kafka postgres redis clamd minio; do server_down "$name" & done
    wait
    # A mount that is left is in the way of whoever removes the state.
    postgres_drop_small_disk
}

server_down() {
    terminate "$STATE/$1" "${STOP_SIGNAL[$1]:-TERM}" 30
}

# servers_forget: they are down; the next start is the first one again.
servers_forget() {
    local name
    for name in postgres redis clamd kafka registry minio; do rm -rf "${STATE:?}/$name"; done
}

# chaos_lock: for the rest of this process. The state's own lock is taken by each nested ./dev servers, and is free between.
chaos_lock() {
    mkdir -p "$HOME_OF_STATES"
    exec {CHAOS_LOCK}>"$HOME_OF_STATES/chaos.lock"
    flock -n "$CHAOS_LOCK" || die 'another ./dev chaos or ./dev test kills the fleet just now; wait for it, or stop it first'
}

# A test of the fleet has servers that it kills. It stops them, unless it is itself ended before. Under chaos_lock.
chaos_servers_down() {
    [[ -d $HOME_OF_STATES/chaos ]] || return 0
    local state=$STATE
    state_open chaos
    servers_down
    STATE=$state
}

# any_running NAME…: whether one of them is.
any_running() {
    local name
    for name in "$@"; do running "$STATE/$name" && return 0; done
    return 1
}
