# shellcheck shell=bash

# shellcheck source=scripts/peers/bento.sh
source "$ROOT/scripts/peers/bento.sh"
# shellcheck source=scripts/peers/debezium.sh
source "$ROOT/scripts/peers/debezium.sh"

# shellcheck source=scripts/peers/ocrmypdf.sh
source "$ROOT/scripts/peers/ocrmypdf.sh"

usage() {
    cat <<'TEXT'
./dev bench pipeline [ARGUMENT…]
    Messages a second through consume, settle and relay, against a bare consume-and-produce loop of librdkafka and
    against the same SQL without Kafka, and against Bento where Go is there to build it, all in one run; prints the figures
    and their ratios. Built for release.
    Its servers are its own, in .docfleet/bench. Figures are only worth something on an idle machine.

./dev bench relay [--alone] [ARGUMENT…]
    The outbox relay against Debezium's outbox router on Kafka Connect (fetched from Maven Central the first time), in one
    run: rows a second from a backlog and behind a writer, latency at 500 rows a second, memory and idle CPU; and what SELECT
    and produce would do without marks. Takes some ten minutes; the result is also written to .docfleet/bench/relay.md.
    --alone measures without Debezium.

./dev bench rebuild [ARGUMENT…]
    A view built anew from the outbox, 300,000 events unless --documents says otherwise, against SELECTs of the same rows
    and against the view's own statements driven from memory, in one run.

./dev bench backlog [ARGUMENT…]
    A cold start of projection-builder on 250,000, 500,000 and 1,000,000 waiting messages: the rate, whether it is linear, and
    what the process has in memory meanwhile.

./dev bench scan [ARGUMENT…]
    Small documents a second through av-scan's engine (INSTREAM, from the blob store), against clamdscan --multiscan over the
    same files and the same clamd, by turns in one run; prints the figures and their ratios. Built for release.

./dev bench ocr [--alone] [ARGUMENT…]
    Pages a second and exactness of the words of our OCR, two documents at once, against ocrmypdf -j2 on the same scanned
    pages in one run: 20 clean ones, 20 noisy ones, 20 skewed ones. No server is started. Takes some five minutes; the result is
    also written to .docfleet/bench/ocr.md. --alone measures without OCRmyPDF; --pages 6 --json is quicker and for programs.

Exit code: 0, or 1 when a measurement failed.
TEXT
}

run() {
    local what=${1:-}
    [[ $what =~ ^(pipeline|relay|rebuild|backlog|scan|ocr)$ ]] ||
        usage_error 'what shall be measured? There are: pipeline, relay, rebuild, backlog, scan, ocr'
    shift
    state_open bench
    state_lock
    any_running "${SERVERS[@]}" || servers_forget
    at_exit servers_down
    checkout_is_usable
    if [[ $what == ocr ]]; then
        bench_ocr "$@"
        return
    fi
    if [[ $what == scan ]]; then
        install_missing 'program clamdscan | clamdscan'
    else
        install_missing
        fetch_servers
    fi
    servers_ports
    ports_save
    "bench_$what" "$@"
}

bench_pipeline() {
    bento_build
    [[ -z $REPLY ]] || export DOCFLEET_BENTO=$REPLY
    step 'building for release'
    (cd "$ROOT" && attend without_lock cargo build --locked --release -p load-tests --bin bench-pipeline) || die 'the build failed'
    step 'starting the servers'
    servers_up
    config_write
    fleet_find
    step 'measuring'
    DOCFLEET_CONFIG=$STATE/$CONFIG_NAME attend "${BIN%/debug}/release/bench-pipeline" "$@"
}

bench_rebuild() {
    step 'building for release'
    (cd "$ROOT" && attend without_lock cargo build --locked --release -p load-tests --bin bench-rebuild) || die 'the build failed'
    bench_servers
    DOCFLEET_CONFIG=$STATE/$CONFIG_NAME attend "${BIN%/debug}/release/bench-rebuild" "$@"
}

bench_backlog() {
    step 'building for release'
    (cd "$ROOT" && attend without_lock cargo build --locked --release -p load-tests -p projection-builder --bin bench-backlog --bin projection-builder) || die 'the build failed'
    bench_servers
    DOCFLEET_CONFIG=$STATE/$CONFIG_NAME attend "${BIN%/debug}/release/bench-backlog" --worker "${BIN%/debug}/release/projection-builder" "$@"
}

# As far as these benches need them.
bench_servers() {
    local name
    step 'starting PostgreSQL, Kafka and the registry'
    for name in postgres kafka registry; do
        (server_up "$name") || die "$name did not start"
    done
    config_write
    fleet_find
    step 'measuring'
}

bench_relay() {
    local peer=()
    if [[ ${1:-} == --alone ]]; then
        shift
    else
        debezium_fetch
        java_is_there || die 'Java is missing'
        peer=(--java "$JAVA" --jars "$DEBEZIUM_HOME/lib")
        # The peer reads the log of the database.
        POSTGRES_MORE=(-c wal_level=logical)
    fi
    step 'building for release'
    (cd "$ROOT" && attend without_lock cargo build --locked --release -p load-tests -p outbox-relay --bin bench-relay --bin outbox-relay) || die 'the build failed'
    step 'starting PostgreSQL and Kafka'
    (server_up postgres) || die 'PostgreSQL did not start'
    (server_up kafka) || die 'Kafka did not start'
    config_write
    fleet_find
    step 'measuring'
    DOCFLEET_CONFIG=$STATE/$CONFIG_NAME attend "${BIN%/debug}/release/bench-relay" --relay "${BIN%/debug}/release/outbox-relay" \
        "${peer[@]}" --markdown "$STATE/relay.md" "$@"
    note "written to ${STATE#"$ROOT"/}/relay.md"
}

bench_scan() {
    step 'building for release'
    (cd "$ROOT" && attend without_lock cargo build --locked --release -p load-tests --bin bench-scan) || die 'the build failed'
    step 'starting clamd'
    # Each document is new to an engine: what it remembers of files that it has seen would be measured otherwise.
    CLAMD_MORE='DisableCache yes'
    (server_up clamd) || die 'clamd did not start'
    fleet_find
    step 'measuring'
    attend "${BIN%/debug}/release/bench-scan" --address "127.0.0.1:${PORT[clamd]}" --clamd-config "$STATE/clamd/clamd.conf" "$@"
}

bench_ocr() {
    local peer=()
    if [[ ${1:-} == --alone ]]; then
        shift
        install_missing
    else
        install_missing "$NEEDS_OF_OCRMYPDF"
        peer=(--ocrmypdf "$(command -v ocrmypdf)")
    fi
    step 'building for release'
    (cd "$ROOT" && attend without_lock cargo build --locked --release -p load-tests -p ocr --bin bench-ocr --bin ocr) || die 'the build failed'
    fleet_find
    step 'measuring'
    attend "${BIN%/debug}/release/bench-ocr" --worker "${BIN%/debug}/release/ocr" "${peer[@]}" --markdown "$STATE/ocr.md" "$@"
    note "written to ${STATE#"$ROOT"/}/ocr.md"
}
