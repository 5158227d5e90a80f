# shellcheck shell=bash
# Background processes by pid, never by name. A process owns a directory with
#   pid       its pid, for people and for other programs
#   identity  pid, start time and boot id: after a crash or a reboot another process may have the pid
#   log       its output

BOOT_ID=$(</proc/sys/kernel/random/boot_id)

# process_started PID: REPLY="state starttime"; fails when there is no such process.
process_started() {
    local stat=''
    # Not $(<file): under "set -e" bash 5.2 leaves the whole shell when the file is not there.
    { IFS= read -r -d '' stat <"/proc/$1/stat"; } 2>/dev/null || [[ -n $stat ]] || return 1
    # The command's name is in brackets and may hold anything, brackets included.
    local -a field
    read -r -a field <<<"${stat##*) }"
    REPLY="${field[0]} ${field[19]}"
}

# running DIR: REPLY=pid; fails unless the very process that was launched in DIR is alive.
running() {
    local pid started boot state_and_start
    { read -r pid started boot <"$1/identity"; } 2>/dev/null || return 1
    [[ $boot == "$BOOT_ID" ]] && process_started "$pid" || return 1
    state_and_start=$REPLY
    # A zombie answers to kill -0, but it is gone; in a container nobody may ever reap it.
    [[ ${state_and_start%% *} != [ZX] && ${state_and_start##* } == "$started" ]] || return 1
    REPLY=$pid
}

# launch DIR COMMAND…: in a session of its own, so that a terminal's Ctrl-C reaches only us and we stop things in order.
launch() {
    local dir=$1 pid
    shift
    rotate_log "$dir/log"
    rm -f "$dir/identity"
    (
        cd "$dir" || exit 1
        # What a killed process leaves behind goes with its next start, and lies in our state until then.
        rm -rf tmp && mkdir -p tmp || exit 1
        export TMPDIR=$dir/tmp
        # The child signs for itself: we may be killed before we could do it, and then nobody would find it again.
        process_started "$BASHPID"
        printf '%s\n' "$BASHPID" >pid
        printf '%s %s %s\n' "$BASHPID" "${REPLY##* }" "$BOOT_ID" >identity.new && mv identity.new identity || exit 1
        close_inherited_files
        # Kafka holds some files open for each partition, and the tests make thousands.
        ulimit -n 100000 2>/dev/null || ulimit -n "$(ulimit -Hn)"
        # A subshell is no leader of a process group here, so setsid keeps the pid.
        exec setsid "$@" >>log 2>&1 </dev/null
    ) &
    pid=$!
    until [[ -s $dir/identity ]]; do
        process_started "$pid" || return 1
        sleep 0.01
    done
    disown "$pid" 2>/dev/null || true
}

# A caller's pipe would not end, and a lock not be released, while a server holds its file descriptor.
close_inherited_files() {
    local fd
    for fd in /proc/self/fd/*; do
        fd=${fd##*/}
        ((fd > 2)) && eval "exec $fd>&-" 2>/dev/null
    done
    return 0
}

rotate_log() {
    local size
    size=$(stat -c %s "$1" 2>/dev/null || echo 0)
    ((size < 20000000)) || mv -f "$1" "$1.1"
}

# children_of PID: REPLY="pid pid …"
children_of() {
    local stat found=''
    local -a field
    for stat in /proc/[0-9]*; do
        parent_and_session "${stat##*/}" || continue
        [[ ${REPLY% *} == "$1" ]] && found+="${stat##*/} "
    done
    REPLY=$found
}

# parent_and_session PID: REPLY="parent session"
parent_and_session() {
    local stat=''
    { IFS= read -r -d '' stat <"/proc/$1/stat"; } 2>/dev/null || [[ -n $stat ]] || return 1
    local -a field
    read -r -a field <<<"${stat##*) }"
    REPLY="${field[1]} ${field[3]}"
}

# descendants PID: REPLY="pid pid …" of PID's session only: what was launched has a session of its own and is stopped in order.
descendants() {
    local root=$1 pid session found=" $1 " before=''
    local -A parent=()
    parent_and_session "$root" || { REPLY='' && return; }
    session=${REPLY##* }
    for pid in /proc/[0-9]*; do
        pid=${pid##*/}
        parent_and_session "$pid" && [[ ${REPLY##* } == "$session" ]] && parent[$pid]=${REPLY%% *}
    done
    until [[ $found == "$before" ]]; do
        before=$found
        for pid in "${!parent[@]}"; do
            [[ $found == *" $pid "* ]] || { [[ $found == *" ${parent[$pid]} "* ]] && found+="$pid "; }
        done
    done
    REPLY=${found/ $root /}
}

# gone DIR SECONDS: waits until the process of DIR is no more.
gone() {
    local tries=$(($2 * 20))
    while running "$1"; do
        ((tries-- > 0)) || return 1
        sleep 0.05
    done
}

# terminate DIR SIGNAL SECONDS: asks, waits, then insists.
terminate() {
    local dir=$1 signal=$2 seconds=$3
    if running "$dir"; then
        kill -s "$signal" "$REPLY" 2>/dev/null || true
        if ! gone "$dir" "$seconds"; then
            say "$dir did not end within $seconds s; killing it"
            murder "$dir"
        fi
    fi
    rm -f "$dir/pid" "$dir/identity"
}

# murder DIR: SIGKILL, as a crash would; its children too, since without the parent they would only linger.
murder() {
    local dir=$1 children=''
    if running "$dir"; then
        local pid=$REPLY
        # Stopped, it can not start another child in between.
        kill -STOP "$pid" 2>/dev/null || true
        children_of "$pid"
        children=$REPLY
        # shellcheck disable=SC2086 # a list
        kill -KILL "$pid" $children 2>/dev/null || true
        gone "$dir" 10 || die "process $pid survives SIGKILL"
    fi
    rm -f "$dir/pid" "$dir/identity"
}
