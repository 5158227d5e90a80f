# shellcheck shell=bash
# Whether a server really answers. A mere connect proves nothing: the kernel accepts for a hung process too.

# answers PORT REQUEST PATTERN: the reply begins with PATTERN, in hex; ?? is any byte.
answers() {
    local reply
    # shellcheck disable=SC2016 # expanded by the inner shell
    reply=$(timeout 3 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" && printf "$2" >&3 && head -c "$3" <&3 | od -An -v -tx1 | tr -d " \n"' \
        probe "$1" "$2" $((${#3} / 2)) 2>/dev/null) || return 1
    # shellcheck disable=SC2053 # a pattern
    [[ $reply == $3 ]]
}

http_ok() { curl --noproxy '*' -fsS --max-time 3 -o /dev/null "$1" 2>/dev/null; }
