# shellcheck shell=bash

usage() {
    cat <<'TEXT'
./dev chaos [--rounds N]
    Sends documents of all kinds and undecodable messages through the whole fleet while workers, relay, Kafka and
    PostgreSQL are killed at random and started again; then heals and audits. N rounds, 1 unless said otherwise; ends at
    the first one that fails. It is the short rotation of ./dev test.

./dev chaos --all | --fault F… | --minutes N
    Faults of docs/faults.md on the fleet, under load: injects one, holds it, heals, waits until all is through, audits,
    and says how long the recovery took. Goes on after one that fails.

    --all         every fault, one after the other; 30 to 45 minutes
    --fault F     one, by its row or its name; may be repeated
    --minutes N   for so long random ones, up to three at once or none
    --patience N  allows N times the time to recover: for a machine that is busy with something else
    --seed S      repeats the choices of a run, which prints its seed
    --old DIR     for fault 52: the programs of an older version
    --old-commit C
                  for fault 52: builds them from an earlier commit, in .docfleet/old
    --table       writes the results into docs/faults.md
    --list        what there is to inject

    Each result is a line of .docfleet/chaos/faults.jsonl; the logs of one that was not green are in
    .docfleet/chaos/kept/ROW-NAME. The servers are chaos' own, in .docfleet/chaos; as root PostgreSQL gets a small disk
    there, which fault 17 fills.

Examples:
    ./dev chaos --rounds 10
    ./dev chaos --fault 13 --fault kill-broker
    ./dev chaos --minutes 120 --seed 7
    ./dev chaos --fault 52 --old-commit HEAD~20
    ./dev chaos --all; ./dev chaos --table

Exit code: 0 when all was green, 1 otherwise, 2 for wrong usage.
TEXT
}

run() {
    local rounds='' arguments=() only='' old_commit=''
    while (($#)); do
        case $1 in
            --rounds | --minutes | --seed | --patience)
                [[ ${2:-} =~ ^[0-9]+$ ]] || usage_error "$1 needs a number"
                if [[ $1 == --rounds ]]; then rounds=$2; else arguments+=("$1" "$2"); fi
                shift
                ;;
            --fault)
                [[ ${2:-} =~ ^[a-z0-9-]+$ ]] || usage_error '--fault needs a row or a name'
                arguments+=("$1" "$2")
                shift
                ;;
            --old)
                [[ -x ${2:-}/ocr ]] || usage_error '--old needs a directory with the programs of the fleet'
                CHAOS_OLD_PROGRAMS=$(cd "$2" && pwd)
                export CHAOS_OLD_PROGRAMS
                shift
                ;;
            --old-commit)
                [[ -n ${2:-} ]] || usage_error '--old-commit needs a commit'
                old_commit=$2
                shift
                ;;
            --all) arguments+=("$1") ;;
            --list | --table) only=$1 ;;
            *) usage_error "chaos does not know '$1'" ;;
        esac
        shift
    done
    if [[ -n $only ]]; then
        need_rust
        cd "$ROOT" && cargo run --quiet --locked -p fleet-tests --bin fleet-chaos -- "$only"
        return
    fi
    [[ -z $rounds || ${#arguments[@]} == 0 ]] || usage_error '--rounds goes alone'
    chaos_lock
    install_missing
    state_open chaos
    any_running "${SERVERS[@]}" || servers_forget
    at_exit chaos_servers_down
    CHECKS=()
    check build cargo build --locked --workspace --bins
    if [[ -n $old_commit ]]; then
        old_programs "$old_commit"
        export CHAOS_OLD_PROGRAMS=$REPLY
    fi
    if ((${#arguments[@]})); then
        check faults cargo run --quiet --locked -p fleet-tests --bin fleet-chaos -- "${arguments[@]}"
    else
        chaos_rounds "${rounds:-1}"
    fi
    checks_summary
    good "all well: $REPLY"
}

# old_programs COMMIT: the fleet's programs as they were then, in REPLY. One commit is kept; what it has in common with today's
# build is not built again.
old_programs() {
    local commit home=$HOME_OF_STATES/old
    commit=$(git -C "$ROOT" rev-parse --verify --quiet "$1^{commit}") || die "there is no commit '$1'"
    if [[ $(cat "$home/commit" 2>/dev/null) != "$commit" ]]; then
        rm -rf "$home"
        mkdir -p "$home/source" "$home/target"
        git -C "$ROOT" archive "$commit" | tar -x -C "$home/source" || die "commit $1 can not be unpacked"
        cp -al "$ROOT/target/debug" "$home/target/debug" || die 'the build can not be linked'
        # Of these a stale one would look like a success.
        find "$home/target/debug" -maxdepth 1 -type f -delete
        echo "$commit" >"$home/commit"
    fi
    check "build of ${commit:0:9}" env CARGO_TARGET_DIR="$home/target" \
        cargo build --locked --workspace --bins --manifest-path "$home/source/Cargo.toml"
    REPLY=$home/target/debug
}

chaos_rounds() {
    local rounds=$1 round
    for ((round = 1; round <= rounds; round++)); do
        check "round $round of $rounds" cargo test --locked -p fleet-tests --test it chaos -- --nocapture --test-threads=1
    done
}
