# shellcheck shell=bash

usage() {
    cat <<'TEXT'
./dev fuzz [TARGET…] [--minutes N]
./dev fuzz --list
    Hostile bytes for what reads a stranger's: archives, types, clamd's answers, frames and layouts of a child that was
    taken over, pictures, tables of words. Each target in turn, or those that are named, N minutes each, 5 unless said
    otherwise; every run looks elsewhere. A short run of all targets is part of ./dev test. No server is needed.

    An input that breaks a reader is made small and written into crates/fuzz/found/TARGET. Put it into the change that mends
    the reader: every later run, ./dev test too, tries it first.

Examples:
    ./dev fuzz --minutes 60
    ./dev fuzz clamd-reply archive --minutes 2

Exit code: 0 when nothing was found, 1 otherwise, 2 for wrong usage.
TEXT
}

run() {
    local minutes=5 wanted=() list=0
    while (($#)); do
        case $1 in
            --minutes)
                [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || usage_error '--minutes needs a number'
                minutes=$2
                shift
                ;;
            --list) list=1 ;;
            -*) usage_error "fuzz does not know '$1'" ;;
            *) wanted+=("$1") ;;
        esac
        shift
    done
    fuzz_targets
    if ((list)); then
        printf '%s\n' "${!PACKAGE_OF[@]}" | sort
        return
    fi
    local target
    for target in "${wanted[@]}"; do
        [[ ${PACKAGE_OF[$target]:-} ]] || usage_error "there is no target '$target'; ./dev fuzz --list names them"
    done
    ((${#wanted[@]})) || mapfile -t wanted < <(printf '%s\n' "${!PACKAGE_OF[@]}" | sort)
    install_missing
    export DOCFLEET_FUZZ_MINUTES=$minutes
    CHECKS=()
    for target in "${wanted[@]}"; do
        check "$target" cargo test --locked -q -p "${PACKAGE_OF[$target]}" --lib -- --exact "${TEST_OF[$target]}" --nocapture
    done
    checks_summary
    good "nothing found: $REPLY"
}

# fuzz_targets: each `Target::new("NAME")` in a fuzz.rs, and the test around it. PACKAGE_OF[NAME], TEST_OF[NAME].
fuzz_targets() {
    local file module package name test
    declare -gA PACKAGE_OF=() TEST_OF=()
    while IFS= read -r file; do
        package=$(sed -n 's/^name = "\(.*\)"$/\1/p' "$ROOT/${file%%/src/*}/Cargo.toml" | head -n 1)
        module=${file#*/src/}
        module=${module%.rs}
        module=${module//\//::}
        while read -r name test; do
            PACKAGE_OF[$name]=$package
            TEST_OF[$name]=$module::$test
        done < <(sed -nE 's/^fn ([a-z0-9_]+)\(\).*/fn \1/p; s/.*Target::new\("([a-z0-9-]+)"\).*/new \1/p' "$ROOT/$file" |
            awk '$1 == "fn" { test = $2 } $1 == "new" { print $2, test }')
    done < <(cd "$ROOT" && find crates workers services -path '*/src/*' -name fuzz.rs | sort)
}
