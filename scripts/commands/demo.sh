# shellcheck shell=bash

usage() {
    cat <<'TEXT'
./dev demo [--s3] [PATH…]
    Starts everything, sends documents through the whole fleet and shows what became of each: the samples of this
    repository and a file with the EICAR test virus, or your own files and directories. Each demo has a tenant of its own,
    so that nothing is a duplicate of an earlier demo's.

    The stack runs until Ctrl-C, so that you can look at it; it stops at once when the input is not a terminal. If
    ./dev up started it before, it keeps running.

    --s3   the documents lie in a bucket of MinIO, encrypted with a key of the customer, instead of a directory. It is built
           from its source the first time, which takes some minutes. Documents of earlier demos stay where they are.

Examples:
    ./dev demo
    ./dev demo --s3
    ./dev demo ~/scans/passport.pdf ~/letters/
    ./dev demo </dev/null               sends the samples, prints the table, stops

    DOCFLEET_INSTALL=no ./dev demo      installs no package; says what is missing instead

Exit code: 0 when every document came through, 1 otherwise, 130 after Ctrl-C before the table.
TEXT
}

run() {
    local path
    paths=()
    for path in "$@"; do
        [[ $path != -- ]] || continue
        [[ $path != --s3 ]] || { DEMO_NEEDS=$NEEDS_OF_BUCKET && servers_with_bucket && continue; }
        [[ -r $path ]] || usage_error "$path is not a file or directory that can be read"
        paths+=("$(realpath "$path")")
    done
    state_open "$DEMO_STATE"
    state_lock
    stack_running || at_exit stop_the_demo
    stack_up
    ((${#paths[@]})) || demo_samples
    demo_tenant
    (receiver_up "$DEMO_RECEIVER" --tenant "$TENANT") || die 'the webhook receiver did not start'
    step "sending documents as tenant $TENANT"
    DEMO_STATUS=0
    attend docfleet submit --tenant "$TENANT" "${paths[@]}" || DEMO_STATUS=$?
    stack_addresses "$TENANT"
    state_unlock
    ((${#AT_EXIT[@]})) || { fleet_process_down "$DEMO_RECEIVER" && return "$DEMO_STATUS"; }
    [[ ! -t 0 ]] || wait_for_ctrl_c
    return "$DEMO_STATUS"
}

wait_for_ctrl_c() {
    say ''
    say "${BOLD}Ctrl-C stops everything.${PLAIN}"
    trap 'exit "$DEMO_STATUS"' INT
    while any_running document-api; do sleep 1; done
    say 'the stack was stopped from elsewhere'
}

stop_the_demo() {
    say ''
    step 'stopping; the workers finish what they hold'
    stack_down
    good 'stopped; the data stay in .docfleet/demo'
}

# demo_tenant: TENANT=a new one. Equal contents of one tenant are duplicates, so the second demo would show nothing else.
demo_tenant() {
    local runs
    runs=$(cat "$STATE/demos" 2>/dev/null || echo 0)
    printf '%s\n' $((runs + 1)) >"$STATE/demos"
    TENANT=demo-$((runs + 1))
}

demo_samples() {
    test_virus
    mapfile -t paths < <(find "$ROOT/samples" -type f ! -name '*.md' | sort)
    paths+=("$STATE/samples/eicar.com")
}

# The test file that every antivirus reports. It is no file of this repository, because scanners would take the checkout
# for infected; it is made from the signature, which is its content in hexadecimal.
test_virus() {
    local hex
    mkdir -p "$STATE/samples"
    hex=$(cut -d: -f4 "$ROOT/deploy/clamav/docfleet.ndb" | tr -d '\n' | sed 's/../\\x&/g')
    printf '%b' "$hex" >"$STATE/samples/eicar.com"
}
