# shellcheck shell=bash

usage() {
    cat <<'TEXT'
./dev check
    Formatting, shellcheck and clippy with warnings denied: the part of ./dev test that needs no server.
    ./dev check --fix formats first.

Exit code: 0 when all is well, 1 otherwise.
TEXT
}

run() {
    case ${1:-} in
        '') ;;
        --fix) need_rust && (cd "$ROOT" && cargo fmt --all) ;;
        *) usage_error "check does not know '$1'" ;;
    esac
    install_missing
    CHECKS=()
    check formatting cargo fmt --all --check
    check_scripts
    check clippy cargo clippy --locked --workspace --all-targets -- -D warnings
    checks_summary
    good "all well: $REPLY"
}
