# shellcheck shell=bash

usage() {
    cat <<'TEXT'
./dev simulate [--seeds N] [--from SEED]
./dev simulate --seed SEED
    Simulated worlds, each made by its seed: consumers, relays, Kafka and PostgreSQL in one thread on virtual time, with
    crashes, stops, rebalances, outages, late and lost answers. Everything that docfleet promises is checked at every
    step, and a healed world must come to rest. No server is needed.

    --seeds N     so many worlds, 10000 unless said otherwise; the first that fails is told step by step
    --from SEED   begin with this seed, 0 unless said otherwise
    --seed SEED   only this one, with its last 250 steps, whether it fails or not

Examples:
    ./dev simulate --seeds 100000 --from 10000
    ./dev simulate --seed 4711

A seed that fails goes into crates/pipeline/src/simulation/seeds.rs, with the fix.

Exit code: 0 when every promise held, 1 otherwise.
TEXT
}

run() {
    local seeds=10000 from=0 seed=''
    while (($#)); do
        [[ ${2:-} =~ ^[0-9]+$ ]] || usage_error "$1 needs a number"
        case $1 in
            --seeds) seeds=$2 ;;
            --from) from=$2 ;;
            --seed) seed=$2 ;;
            *) usage_error "simulate does not know '$1'" ;;
        esac
        shift 2
    done
    install_missing
    export SIMULATE_SEEDS=$seeds SIMULATE_FROM=$from SIMULATE_SEED=$seed
    CHECKS=()
    check 'simulation' cargo test --locked -q -p docfleet-pipeline --lib ten_thousand_worlds -- --nocapture
    checks_summary
    good "all well: $REPLY"
}
