# shellcheck shell=bash
# PostgreSQL of the distribution, with a cluster of our own; on TCP only, so no socket is left lying around.

POSTGRES_ROLE=docfleet
# Further options of the server, for a bench.
POSTGRES_MORE=()
# Of chaos: the cluster, and a fleet's hour of work.
POSTGRES_SMALL_DISK=1g

postgres_ports() { port_for postgres "$STATE/postgres"; }

postgres_prepare() {
    local dir=$STATE/postgres
    postgres_find || die "PostgreSQL's server programs are missing; ./dev up installs them"
    postgres_account
    [[ ! -d $dir/data ]] || { postgres_forget_crash && return; }
    # Under another name until it is complete: an interrupted initdb leaves what looks like a cluster.
    rm -rf "$dir/data.new" && mkdir -m 700 "$dir/data.new"
    # initdb must read the password as the other user, which can not open a pipe of ours.
    secret postgres
    (umask 077 && printf '%s\n' "$REPLY" >"$dir/password")
    ((EUID != 0)) || chown postgres "$dir/data.new" "$dir/password"
    (cd "$dir" && "${POSTGRES_AS[@]}" "$POSTGRES_BIN/initdb" -D "$dir/data.new" -U $POSTGRES_ROLE --pwfile="$dir/password" \
        --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 --no-sync) >"$dir/initdb.log" 2>&1 ||
        die "initdb failed: $(tail -n 5 "$dir/initdb.log")"
    rm -f "$dir/password"
    ! postgres_small_disk || { cp -a "$dir/data.new/." "$dir/data/" && rm -rf "$dir/data.new" && return; }
    mv "$dir/data.new" "$dir/data"
}

# For chaos, where root may mount one, a disk that a test can fill. It must go before its directory does.
postgres_small_disk() {
    local dir=$STATE/postgres/data owner
    state_is_for_chaos && ((EUID == 0)) || return 1
    owner=$(id -u postgres)
    mkdir -p "$dir"
    mount -t tmpfs -o "size=${POSTGRES_SMALL_DISK},mode=700,uid=$owner,gid=$(id -g postgres)" tmpfs "$dir" 2>/dev/null || { rmdir "$dir" && return 1; }
}

# postgres_on_small_disk: whether the cluster is on one.
postgres_on_small_disk() { grep -q " $STATE/postgres/data " /proc/self/mounts; }

postgres_drop_small_disk() {
    ! postgres_on_small_disk || { umount "$STATE/postgres/data" && rmdir "$STATE/postgres/data"; }
}

# After a kill -9 PostgreSQL takes a zombie, or a stranger who got its old pid, for the one that still holds the data. Nobody
# holds them when nobody has them as working directory, as all its processes do.
postgres_forget_crash() {
    local data=$STATE/postgres/data tries
    [[ -f $data/postmaster.pid ]] || return 0
    for ((tries = 200; tries > 0; tries--)); do
        [[ $(readlink /proc/[0-9]*/cwd 2>/dev/null) == *"$data"* ]] || { rm -f "$data/postmaster.pid" && return; }
        sleep 0.05
    done
    die "processes of a killed PostgreSQL still hold $data"
}

postgres_launch() {
    local wal=2GB
    ! postgres_on_small_disk || wal=256MB
    launch "$STATE/postgres" "${POSTGRES_AS[@]}" "$POSTGRES_BIN/postgres" -D "$STATE/postgres/data" \
        -c port="${PORT[postgres]}" -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
        -c max_connections=400 -c shared_buffers=128MB -c max_wal_size=$wal -c jit=off "${POSTGRES_MORE[@]}"
}

postgres_ready() { [[ $(sql -d postgres -c 'SELECT 1') == 1 ]]; }

# The databases are made whenever one is missing: a first start may have been interrupted between two of them.
postgres_after() {
    local name
    for name in docfleet apicurio; do
        [[ -n $(sql -d postgres -c "SELECT 1 FROM pg_database WHERE datname = '$name'") ]] ||
            sql -d postgres -c "CREATE DATABASE $name" >/dev/null
    done
}

# sql ARGUMENT…: psql as the owner of everything.
sql() {
    secret postgres
    PGPASSWORD=$REPLY PGCONNECT_TIMEOUT=3 psql -X -q -A -t -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "${PORT[postgres]}" -U $POSTGRES_ROLE "$@" 2>/dev/null
}

# Debian keeps the server's programs out of PATH, by version; the newest one.
postgres_find() {
    local dir
    POSTGRES_BIN=''
    while read -r dir; do [[ -x $dir/postgres && -x $dir/initdb ]] && POSTGRES_BIN=$dir; done \
        < <(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V)
    [[ -n $POSTGRES_BIN ]]
}

# PostgreSQL refuses to run as root, so root starts it as the user that its package made. The checkout may lie where
# that user can not enter (/root/…). Opening the way for everybody, or putting the data elsewhere, would both touch
# what is not ours; the process gets the one capability instead that lets it pass directories on the way to its data.
postgres_account() {
    POSTGRES_AS=()
    ((EUID == 0)) || return 0
    local as=(setpriv --reuid=postgres --regid=postgres --clear-groups --no-new-privs) capability
    POSTGRES_AS=("${as[@]}")
    # Not "test -x": it asks what the user may do without capabilities.
    "${as[@]}" test -e "$STATE/postgres/." && return 0
    for capability in dac_read_search dac_override; do
        POSTGRES_AS=("${as[@]}" --inh-caps="+$capability" --ambient-caps="+$capability")
        "${POSTGRES_AS[@]}" test -e "$STATE/postgres/." 2>/dev/null && return 0
    done
    die "user postgres can not reach $STATE/postgres: move the checkout to a directory that others may enter, or run ./dev as a user, not as root"
}
