# shellcheck shell=bash
# What people read goes to standard error; standard output is for results.

if [[ -t 2 && -z ${NO_COLOR:-} ]]; then
    BOLD=$'\e[1m' DIM=$'\e[2m' RED=$'\e[31m' GREEN=$'\e[32m' PLAIN=$'\e[0m'
else
    BOLD='' DIM='' RED='' GREEN='' PLAIN=''
fi

say() { printf '%s\n' "$*" >&2; }
step() { printf '%s==>%s %s\n' "$BOLD" "$PLAIN" "$*" >&2; }
note() { printf '%s    %s%s\n' "$DIM" "$*" "$PLAIN" >&2; }
good() { printf '    %s%s%s\n' "$GREEN" "$*" "$PLAIN" >&2; }
bad() { printf '%serror:%s %s\n' "$RED" "$PLAIN" "$*" >&2; }
die() {
    bad "$@"
    exit 1
}

# Milliseconds since 1970, without a child process.
now_ms() { REPLY=$((${EPOCHREALTIME/[.,]/} / 1000)); }

# seconds_since MS: REPLY=4.2
seconds_since() {
    local start=$1
    now_ms
    local tenths=$(((REPLY - start + 50) / 100))
    REPLY="$((tenths / 10)).$((tenths % 10))"
}

# usage_error: the caller's mistake has an exit code of its own.
usage_error() {
    bad "$@"
    exit 2
}
