# shellcheck shell=bash

usage() {
    cat <<'TEXT'
./dev: run, test and measure docfleet on this machine. Debian or Ubuntu with Rust; root or sudo for missing packages.

    ./dev demo [--s3] [PATH…]   start everything, send documents through, show what became of them
    ./dev test                  all checks and tests, on real servers

    ./dev up | down             start and leave running; stop
    ./dev status                what runs, and the queues
    ./dev logs NAME [-f]        what a process says
    ./dev docfleet ARGUMENT…    the docfleet program on the running stack, such as: ./dev docfleet dlq list
    ./dev sql [ARGUMENT…]       psql on the running stack
    ./dev check                 formatting, shellcheck and clippy only
    ./dev chaos [--rounds N]    the fleet while its processes and Kafka are killed
    ./dev simulate [--seeds N]  simulated worlds under every fault, each made by its seed; no servers
    ./dev fuzz [TARGET…]        hostile bytes for whatever reads a stranger's; no servers
    ./dev bench pipeline        messages a second, against bare clients
    ./dev fresh                 both first commands in a clean Debian, as a new user would
    ./dev servers …             servers of a state of your own; for tests that kill them
    ./dev clean                 throw away all that ./dev made here

./dev COMMAND --help tells more. Everything lies in .docfleet of this checkout.
Exit codes: 0 well, 1 failed, 2 wrong usage, 130 Ctrl-C.
TEXT
}

run() { usage; }
