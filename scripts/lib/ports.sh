# shellcheck shell=bash
# Loopback ports of one state directory: chosen once, written to DIR/ports, kept over restarts.

declare -A PORT=()

ports_load() {
    PORT=()
    local name number
    [[ -f $STATE/ports ]] || return 0
    while IFS='=' read -r name number; do
        [[ -z $name ]] || PORT[$name]=$number
    done <"$STATE/ports"
}

ports_save() {
    local name
    for name in "${!PORT[@]}"; do printf '%s=%s\n' "$name" "${PORT[$name]}"; done | sort >"$STATE/ports.new"
    mv -f "$STATE/ports.new" "$STATE/ports"
}

# listening PORT: whether anybody on this machine listens there.
listening() {
    local hex row address state
    printf -v hex '%04X' "$1"
    while read -r row address _ state _; do
        [[ $state == 0A && $address == *:"$hex" && $row ]] && return 0
    done < <(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null)
    return 1
}

# Below the range from which the kernel serves outgoing connections: one of those could take a port that we keep.
free_port() {
    local below taken
    read -r below _ </proc/sys/net/ipv4/ip_local_port_range
    ((below > 21000)) || below=32768
    # A checkout has several state directories; what another one keeps is not free, even while it is stopped.
    taken=" ${PORT[*]} $({ cat "${STATE%/*}"/*/ports 2>/dev/null || true; } | sed 's/.*=//' | tr '\n' ' ')"
    while :; do
        REPLY=$((20000 + SRANDOM % (below - 20000)))
        [[ $taken == *" $REPLY "* ]] || listening "$REPLY" || return 0
    done
}

# port_for NAME [DIR]: REPLY=its port; a new one when the process of DIR is not running and somebody else listens there.
port_for() {
    local name=$1 dir=${2:-} port=${PORT[$1]:-}
    if [[ -n $port ]]; then
        if [[ -n $dir ]] && running "$dir" || ! listening "$port"; then
            REPLY=$port
            return 0
        fi
        say "port $port of $name is taken by somebody else; choosing a new one"
        unset "PORT[$name]"
    fi
    free_port
    PORT[$name]=$REPLY
}
