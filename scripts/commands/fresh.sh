# shellcheck shell=bash

usage() {
    cat <<'TEXT'
./dev fresh [--user] [--dirty] [COMMAND…]
    Proves that a new user needs nothing but Rust: makes a clean Debian in .docfleet/fresh by debootstrap, clones this
    checkout into it, adds the Rust toolchain, the certificates and the package managers' settings of this machine, and
    runs ./dev demo and ./dev test there. Needs root, 15 GB and the better part of an hour.

    --user    as a user with sudo, not as root
    --dirty   the working tree as it is, not the last commit
    COMMAND   other commands of ./dev instead of demo and test, each as one word: 'servers mine up'

    Mounts and processes are in namespaces of their own, which end with this command however it ends; the directory
    stays for inspection until the next run or ./dev clean.

Examples:
    ./dev fresh
    ./dev fresh --user --dirty demo

Exit code: 0 when every command did, 1 otherwise.
TEXT
}

run() {
    local user=root dirty=0 commands=()
    while (($#)); do
        case $1 in
            --user) user=newcomer ;;
            --dirty) dirty=1 ;;
            -*) usage_error "fresh does not know '$1'" ;;
            *) commands+=("$1") ;;
        esac
        shift
    done
    ((${#commands[@]})) || commands=(demo test)
    ((EUID == 0)) || die 'fresh makes a system of its own: run it as root'
    need_rust
    command -v debootstrap >/dev/null || die 'debootstrap is missing: apt-get install debootstrap'
    FRESH=$HOME_OF_STATES/fresh
    mkdir -p "$FRESH"
    # It gets this machine's ways into its package sources, passwords included.
    chmod 700 "$FRESH"
    exec {STATE_LOCK}>"$FRESH/lock"
    flock -n "$STATE_LOCK" || die 'another ./dev fresh is at work'
    fresh_system
    fresh_checkout "$dirty"
    # What is mounted or started below here is gone when this process is.
    attend unshare --mount --pid --fork --kill-child --propagation private \
        bash "$ROOT/scripts/fresh-inside" "$FRESH/root" "$(rustc --print sysroot)" "$user" "${commands[@]}"
    good 'a new user would be content'
}

fresh_system() {
    local codename id mirror
    # shellcheck source=/dev/null
    read -r id codename < <(. /etc/os-release && echo "$ID $VERSION_CODENAME")
    # This machine's package sources fit only its own release.
    # shellcheck disable=SC2016 # for apt-get to fill in
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $codename" 2>/dev/null | head -n 1)
    step "a clean $id $codename"
    rm -rf --one-file-system "$FRESH/root"
    attend debootstrap --variant=minbase "$codename" "$FRESH/root" ${mirror:+"$mirror"} >"$FRESH/debootstrap.log" ||
        die "debootstrap failed: $(tail -n 3 "$FRESH/debootstrap.log")"
    fresh_settings
}

# What belongs to the machine's way into the network, not to a user's set-up.
fresh_settings() {
    local path
    rm -f "$FRESH/root/etc/apt/sources.list"
    for path in /etc/resolv.conf /etc/hosts /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources \
        /etc/apt/sources.list.d/ubuntu.sources /etc/apt/apt.conf.d /etc/apt/auth.conf.d /etc/pip.conf \
        /usr/local/share/ca-certificates; do
        [[ ! -e $path ]] || { mkdir -p "$FRESH/root${path%/*}" && cp -RL "$path" "$FRESH/root${path%/*}/"; }
    done
    mkdir -p "$FRESH/root/settings"
    for path in .config/pip .pip .m2/settings.xml .cargo/config.toml .gitconfig; do
        [[ ! -e $HOME/$path ]] || (cd "$HOME" && cp -RL --parents "$path" "$FRESH/root/settings/")
    done
    env | grep -iE '^(https?_proxy|no_proxy|all_proxy|pip_(index_url|extra_index_url|trusted_host|cert|default_timeout)|cargo_http_[a-z_]+|cargo_registries_[a-z_]+|ssl_cert_(file|dir)|maven_opts)=' \
        >"$FRESH/root/settings/environment" || true
}

# fresh_checkout DIRTY
fresh_checkout() {
    local target=$FRESH/root/checkout
    if (($1)); then
        mkdir "$target"
        (cd "$ROOT" && git ls-files -z --cached --others --exclude-standard | tar -c --null --ignore-failed-read -T -) | tar -x -C "$target"
    else
        git clone --quiet --no-hardlinks "$ROOT" "$target"
    fi
}
