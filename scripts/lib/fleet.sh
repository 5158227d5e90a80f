# shellcheck shell=bash
# The processes of docfleet itself, on the servers of STATE.

FLEET=(document-api outbox-relay av-scan dedup ocr webhook-dispatcher projection-builder)
RECEIVER=webhook-receiver
# A demo has a tenant of its own, and so a receiver of its own.
DEMO_RECEIVER=demo-receiver
FLEET_START_SECONDS_MAX=60

# fleet_build: the dev profile. The slow parts (OCR, compression, TLS) are C anyway, it compiles in a third of the time,
# and ./dev test uses the same artifacts.
fleet_build() {
    local name packages=(-p docfleet)
    for name in "${FLEET[@]}"; do packages+=(-p "$name"); done
    step 'building the fleet (the first time this takes minutes)'
    (cd "$ROOT" && attend without_lock cargo build --locked "${packages[@]}") || die 'the build failed'
    fleet_find
}

fleet_find() {
    local metadata
    metadata=$(cd "$ROOT" && cargo metadata --locked --offline --no-deps --format-version 1 2>/dev/null) || true
    [[ $metadata =~ \"target_directory\":\"([^\"]+)\" ]] && BIN=${BASH_REMATCH[1]}/debug || BIN=$ROOT/target/debug
}

docfleet() { DOCFLEET_CONFIG=$STATE/$CONFIG_NAME "$BIN/docfleet" "$@"; }

fleet_ports() {
    local name
    port_for api "$STATE/document-api"
    for name in "$RECEIVER" "$DEMO_RECEIVER" "${FLEET[@]}"; do port_for "$name" "$STATE/$name"; done
}

fleet_up() {
    local name failed=0 jobs=() job
    # A process whose program was built anew, or whose configuration changed, is of yesterday.
    for name in "${FLEET[@]}" "$RECEIVER"; do
        if ((CONFIG_CHANGED)) || outdated "$STATE/$name"; then fleet_process_down "$name" & fi
    done
    wait
    for name in "${FLEET[@]}"; do (fleet_start "$name") & jobs+=($!); done
    for job in "${jobs[@]}"; do wait "$job" || failed=1; done
    ((failed == 0)) || die 'not every process of the fleet started; ./dev logs NAME shows more'
    (receiver_up "$RECEIVER") || die 'the webhook receiver did not start'
}

# outdated DIR: it runs a program that is no more on the disk.
outdated() { running "$1" && [[ $(readlink "/proc/$REPLY/exe") == *' (deleted)' ]]; }

fleet_start() {
    local name=$1 dir=$STATE/$1
    mkdir -p "$dir"
    if ! running "$dir"; then
        DOCFLEET_CONFIG=$STATE/$CONFIG_NAME DOCFLEET__SERVICE__LISTEN=127.0.0.1:${PORT[$name]} launch "$dir" "$BIN/$name"
    fi
    await_start "$name" $FLEET_START_SECONDS_MAX http_ok "http://127.0.0.1:${PORT[$name]}/ready"
}

# receiver_up NAME ARGUMENT…: it subscribes to everything by the API, and ends that subscription when it ends.
receiver_up() {
    local name=$1 dir=$STATE/$1
    shift
    mkdir -p "$dir"
    running "$dir" || DOCFLEET_CONFIG=$STATE/$CONFIG_NAME launch "$dir" "$BIN/docfleet" listen --register --port "${PORT[$name]}" "$@"
    # It answers nobody before it is subscribed; then a GET is answered too, if only with 405.
    await_start "$name" $FLEET_START_SECONDS_MAX curl --noproxy '*' -s --max-time 3 -o /dev/null "http://127.0.0.1:${PORT[$name]}/"
}

fleet_down() {
    local name
    # The receivers unsubscribe by the API; the workers finish what they hold.
    for name in "$RECEIVER" "$DEMO_RECEIVER"; do fleet_process_down "$name" & done
    wait
    for name in "${FLEET[@]}"; do fleet_process_down "$name" & done
    wait
}

# A worker drains for up to 25 s.
fleet_process_down() { terminate "$STATE/$1" TERM 30; }
