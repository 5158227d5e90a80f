# shellcheck shell=bash
# ClamAV's daemon with the signature file of this repository: no download, up in a moment.

# Further settings, for a bench.
CLAMD_MORE=

clamd_ports() { port_for clamd "$STATE/clamd"; }

# The settings are those of deploy/clamav; address and directories are this machine's.
clamd_prepare() {
    local dir=$STATE/clamd
    mkdir -p "$dir/data" "$dir/tmp"
    cp "$ROOT/deploy/clamav/docfleet.ndb" "$dir/data/"
    {
        cat "$ROOT/deploy/clamav/clamd.conf"
        printf '\nTCPAddr 127.0.0.1\nTCPSocket %s\n' "${PORT[clamd]}"
        printf 'DatabaseDirectory "%s"\nTemporaryDirectory "%s"\n' "$dir/data" "$dir/tmp"
        printf '%s\n' "$CLAMD_MORE"
    } >"$dir/clamd.conf"
}

# A copy: where AppArmor is at work, as on a usual Debian or Ubuntu, it lets /usr/sbin/clamd touch only the directories of
# the system's own daemon.
clamd_launch() {
    cp -f "$(command -v clamd)" "$STATE/clamd/clamd"
    # It tells the date of its signatures in its own zone.
    launch "$STATE/clamd" env TZ=UTC "$STATE/clamd/clamd" --foreground --config-file="$STATE/clamd/clamd.conf"
}

clamd_ready() { answers "${PORT[clamd]}" 'zPING\0' 504f4e4700; }
