# shellcheck shell=bash

usage() {
    cat <<'TEXT'
./dev logs NAME [-f] [-n LINES] [--test]
    The end of a log, 50 lines unless said otherwise; -f follows it until Ctrl-C. Without NAME: which logs there are.

Examples:
    ./dev logs ocr -f
    ./dev logs kafka -n 200
    ./dev logs postgres --test          of the servers of ./dev test --keep

Exit code: 0, or 2 when there is no such log.
TEXT
}

run() {
    local name='' lines=50 follow=() state=$DEMO_STATE
    while (($#)); do
        case $1 in
            -f | --follow) follow=(-F) ;;
            -n | --lines)
                [[ ${2:-} =~ ^[0-9]+$ ]] || usage_error '-n needs a number of lines'
                lines=$2
                shift
                ;;
            --test) state="test" ;;
            -*) usage_error "logs does not know '$1'" ;;
            *) name=$1 ;;
        esac
        shift
    done
    STATE=$HOME_OF_STATES/$state
    [[ -n $name ]] || { logs_list && return 0; }
    [[ $name != */* && -f $STATE/$name/log ]] || usage_error "there is no log '$name'; there are: $(logs_list | tr '\n' ' ')"
    exec tail -n "$lines" "${follow[@]}" "$STATE/$name/log"
}

logs_list() {
    local log
    for log in "$STATE"/*/log; do
        [[ ! -f $log ]] || { log=${log%/log} && printf '%s\n' "${log##*/}"; }
    done
}
