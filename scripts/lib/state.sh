# shellcheck shell=bash
# Where everything lives that ./dev makes: DIR/.docfleet of this checkout, nothing else.
#   tools/       what was fetched: Kafka, the registry, Java, linters; shared by all
#   demo/ test/  one state each: its servers' data and logs, its ports, its configuration

HOME_OF_STATES=$ROOT/.docfleet
TOOLS=$HOME_OF_STATES/tools

# state_open NAME: STATE=its directory, made when missing; PORT filled.
state_open() {
    STATE=$HOME_OF_STATES/$1
    mkdir -p "$STATE" "$TOOLS"
    # It holds the passwords of the servers and people's documents.
    chmod 700 "$STATE"
    ports_load
}

# Its servers stand behind proxies and on a small disk; see docs/faults.md.
state_is_for_chaos() { [[ ${STATE##*/} == chaos ]]; }

# state_lock: for the rest of this process nobody else starts or stops things in STATE.
state_lock() {
    exec {STATE_LOCK}>"$STATE/lock"
    flock -n "$STATE_LOCK" || die "another ./dev works in ${STATE#"$ROOT"/}; wait for it, or stop it first"
}

state_unlock() {
    [[ -z ${STATE_LOCK:-} ]] || exec {STATE_LOCK}>&-
    STATE_LOCK=''
}

# without_lock COMMAND…: in attend's subshell, for what may leave a daemon behind, such as a compiler cache; it must not
# keep the lock.
without_lock() {
    state_unlock
    "$@"
}

# secret NAME: REPLY=a random password, made once.
secret() {
    local file=$STATE/secret-$1
    if [[ ! -s $file ]]; then
        (umask 077 && od -An -N24 -v -tx1 /dev/urandom | tr -d ' \n' >"$file.new" && mv "$file.new" "$file")
    fi
    REPLY=$(<"$file")
}
