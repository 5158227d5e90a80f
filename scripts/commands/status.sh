# shellcheck shell=bash

usage() {
    cat <<'TEXT'
./dev status [--test]
    What runs, where, since when and how much memory it takes; then the queues, as docfleet status shows them.
    --test shows the servers of ./dev test --keep instead.

Exit code: 0 when everything runs, 1 when something does not.
TEXT
}

run() {
    local name missing=0 names=("${SERVERS[@]}" "${FLEET[@]}" "$RECEIVER") state=$DEMO_STATE
    case ${1:-} in
        '') ;;
        --test)
            servers_with_bucket
            state="test" names=("${SERVERS[@]}")
            ;;
        *) usage_error "status does not know '$1'" ;;
    esac
    [[ -d $HOME_OF_STATES/$state ]] || die 'nothing was started yet; ./dev up does'
    state_open "$state"
    printf "$BOLD%-20s %-8s %-18s %8s %10s$PLAIN\n" NAME STATE ADDRESS PID MEMORY
    for name in "${names[@]}"; do status_line "$name" || missing=1; done
    ((missing == 0)) || die 'not everything runs; ./dev up starts it'
    [[ $state == "$DEMO_STATE" ]] || return 0
    fleet_find
    printf '\n'
    docfleet status
}

status_line() {
    local dir=$STATE/$1 key=$1 address pid memory
    [[ $1 != document-api ]] || key=api
    address=127.0.0.1:${PORT[$key]:-?}
    if ! running "$dir"; then
        printf "%-20s $RED%-8s$PLAIN %-18s\n" "$1" down "$address"
        return 1
    fi
    pid=$REPLY
    memory=$(awk '/^VmRSS/ { printf "%.0f MB", $2 / 1024 }' "/proc/$pid/status" 2>/dev/null || true)
    printf "%-20s $GREEN%-8s$PLAIN %-18s %8s %10s\n" "$1" up "$address" "$pid" "$memory"
}
