# shellcheck shell=bash
# The distribution's packages that docfleet needs: what is missing is named first, then installed, nothing else.

# How to see that it is there | package of Debian and Ubuntu
NEEDS='program cc              | build-essential
program make            | build-essential
program cmake           | cmake
program mold            | mold
program clang           | clang
program pkg-config      | pkg-config
program curl            | curl
file    /usr/lib/llvm-*/lib/libclang*.so* | libclang-dev
library openssl         | libssl-dev
library zlib            | zlib1g-dev
library tesseract       | libtesseract-dev
library lept            | libleptonica-dev
program tesseract       | tesseract-ocr
file    /usr/share/tesseract-ocr/*/tessdata/eng.traineddata | tesseract-ocr-eng
file    /usr/share/tesseract-ocr/*/tessdata/deu.traineddata | tesseract-ocr-deu
program pdftotext       | poppler-utils
file    /usr/lib/postgresql/*/bin/initdb | postgresql
program psql            | postgresql-client
program redis-server    | redis-server
program clamd           | clamav-daemon
program java            | default-jre-headless
program mvn             | maven
program python3         | python3
venv    -               | python3-venv
program setpriv         | util-linux
file    /etc/ssl/certs/ca-certificates.crt | ca-certificates'

# Certificates for an S3 service.
NEEDS_OF_BUCKET='program openssl | openssl'

# Only the tests: a Kafka client that can write what ours never would.
NEEDS_OF_TESTS="program kcat | kcat
$NEEDS_OF_BUCKET"

# Their packages would be started at each boot from now on; docfleet starts its own.
SERVICES=(postgresql redis-server clamav-daemon clamav-freshclam)

# install_missing [FURTHER NEEDS]: afterwards everything is there, or we ended with a sentence.
install_missing() {
    local needs=$NEEDS${1:+$'\n'$1}
    need_rust
    find_missing "$needs"
    local missing=("${REPLY_LIST[@]}")
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null ||
        die "missing here: ${missing[*]} (Debian's names); this is not Debian or Ubuntu, so install their like yourself"
    [[ ${DOCFLEET_INSTALL:-yes} != no ]] || die "missing packages, and DOCFLEET_INSTALL=no: apt-get install --no-install-recommends ${missing[*]}"
    local sudo=()
    if ((EUID != 0)); then
        command -v sudo >/dev/null || die "missing packages, and no sudo here. As root: apt-get install --no-install-recommends ${missing[*]}"
        sudo=(sudo)
    fi
    mkdir -p "$TOOLS"
    step 'installing these packages, and what they depend on; their services are not started'
    note "${missing[*]}"
    "${sudo[@]}" bash "$ROOT/scripts/install-packages" "${missing[*]}" "${SERVICES[*]}" "$TOOLS/apt.log" ||
        die "apt could not install them: $(tail -n 15 "$TOOLS/apt.log")"
    find_missing "$needs"
    ((${#REPLY_LIST[@]} == 0)) || die "still missing after the installation: ${REPLY_LIST[*]}"
}

need_rust() {
    # A non-login shell, or sudo, may not have read what rustup wrote into the profile.
    command -v cargo >/dev/null || PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
    command -v cargo >/dev/null || die 'Rust is missing, the one thing that ./dev does not install: get it by rustup'
}

# find_missing NEEDS: REPLY_LIST=packages, each once.
find_missing() {
    local probe argument package
    local -A seen=()
    REPLY_LIST=()
    while read -r probe argument _ package; do
        "need_$probe" "$argument" && continue
        [[ ${seen[$package]:-} ]] || REPLY_LIST+=("$package")
        seen[$package]=1
    done <<<"$1"
}

need_program() { command -v "$1" >/dev/null; }
need_library() { command -v pkg-config >/dev/null && pkg-config --exists "$1"; }
need_file() { compgen -G "$1" >/dev/null; }
# Debian splits what venv needs to make an environment with pip.
need_venv() { python3 -c 'import venv, ensurepip' 2>/dev/null; }
