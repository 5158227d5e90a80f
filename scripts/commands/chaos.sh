# shellcheck shell=bash

usage() {
    cat <<'TEXT'
./dev chaos [--rounds N]
    Sends documents of all kinds and undecodable messages through the whole fleet while workers, relay and Kafka are
    killed at random and started again; then heals and audits. N rounds, 1 unless said otherwise; ends at the first
    one that fails. Its servers are its own, in .docfleet/chaos.

Examples:
    ./dev chaos --rounds 10

Exit code: 0 when every audit was green, 1 otherwise.
TEXT
}

run() {
    local rounds=1 round
    case ${1:-} in
        '') ;;
        --rounds)
            [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || usage_error '--rounds needs a number'
            rounds=$2
            ;;
        *) usage_error "chaos does not know '$1'" ;;
    esac
    chaos_lock
    install_missing
    state_open chaos
    any_running "${SERVERS[@]}" || servers_forget
    at_exit chaos_servers_down
    CHECKS=()
    check build cargo build --locked --workspace --bins
    for ((round = 1; round <= rounds; round++)); do
        check "round $round of $rounds" cargo test --locked -p fleet-tests --test it chaos -- --nocapture --test-threads=1
    done
    checks_summary
    good "all well: $REPLY"
}
