# shellcheck shell=bash

usage() {
    cat <<'TEXT'
./dev sql [ARGUMENT…]
    psql on the database of the running stack; the arguments are psql's.

Examples:
    ./dev sql
    ./dev sql -c 'SELECT topic, count(*) FROM pipeline.outbox_events GROUP BY 1'

Exit code: that of psql.
TEXT
}

run() {
    state_open "$DEMO_STATE"
    running "$STATE/postgres" || die 'PostgreSQL does not run; ./dev up starts it'
    secret postgres
    PGPASSWORD=$REPLY exec psql -h 127.0.0.1 -p "${PORT[postgres]}" -U "$POSTGRES_ROLE" -d docfleet "$@"
}
