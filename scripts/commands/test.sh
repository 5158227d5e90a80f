# shellcheck shell=bash

usage() {
    cat <<'TEXT'
./dev test [--only PATTERN] [--keep]
    All checks that a change must pass, on real servers of its own in .docfleet/test:
    formatting, shellcheck, clippy with warnings denied, unit, property and integration tests.
    It installs what is missing, starts the servers empty, and stops them at the end.

    --only PATTERN   only the tests whose path contains PATTERN, and none of the other checks
    --keep           leave the servers running: the next call is faster
    --stop           end the servers that --keep left, and do nothing else

Examples:
    ./dev test
    ./dev test --only dead_letter --keep

Exit code: 0 when all is well, 1 otherwise.
TEXT
}

run() {
    local only='' keep=0 began
    while (($#)); do
        case $1 in
            --only)
                only=${2:-}
                [[ -n $only ]] || usage_error '--only needs a pattern'
                shift
                ;;
            --keep) keep=1 ;;
            --stop)
                state_open test
                state_lock
                servers_down
                return 0
                ;;
            *) usage_error "test does not know '$1'" ;;
        esac
        shift
    done
    now_ms
    began=$REPLY
    install_missing "$NEEDS_OF_TESTS"
    servers_with_bucket
    test_servers_start "$keep"
    CHECKS=()
    if [[ -z $only ]]; then
        check formatting cargo fmt --all --check
        check_scripts
        check clippy cargo clippy --locked --workspace --all-targets -- -D warnings
    fi
    test_servers_await
    # Cargo builds a package's programs only for its own tests; the tests of the fleet start all of them.
    check build cargo build --locked --workspace --bins
    # What a killed process leaves behind stays in our state.
    rm -rf "$STATE/tmp" && mkdir -p "$STATE/tmp"
    export DOCFLEET_TEST_CONFIG=$STATE/$CONFIG_NAME TMPDIR=$STATE/tmp
    # Tests that start a clamd of their own need the copy that AppArmor does not confine.
    export PATH=$STATE/clamd:$PATH
    check tests cargo test --locked --workspace --no-fail-fast ${only:+"$only"}
    TESTS_PASSED=1
    seconds_since "$began"
    local seconds=$REPLY
    checks_summary
    good "all well in $seconds s: $REPLY"
}

# They start while clippy has the processors.
test_servers_start() {
    state_open test
    state_lock
    checkout_is_usable
    any_running "${SERVERS[@]}" || {
        servers_forget
        (($1)) || at_exit test_servers_end
    }
    chaos_lock
    at_exit chaos_servers_down
    fetch_servers
    servers_ports
    ports_save
    (servers_up) 2>"$STATE/servers.log" &
    TEST_SERVERS=$!
}

# Some gigabytes of databases; only after a failure somebody may want to look at them.
test_servers_end() {
    servers_down
    [[ -z ${TESTS_PASSED:-} ]] || servers_forget
}

test_servers_await() {
    step servers
    wait "$TEST_SERVERS" || { cat "$STATE/servers.log" >&2 && die 'the servers of the tests did not start'; }
    cat "$STATE/servers.log" >&2
    config_write
}
