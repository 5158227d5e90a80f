# shellcheck shell=bash
# Bento, the stream processor beside which `./dev bench pipeline` measures. Its own distribution links every connector
# there is; this program holds those that the measurement needs.

BENTO_VERSION=1.5.0
BENTO_HOME=$TOOLS/bento-$BENTO_VERSION

# bento_build: REPLY is the program, or nothing where it can not be had.
bento_build() {
    REPLY=''
    if ! fetched "$BENTO_HOME"; then
        command -v go >/dev/null || { note 'without Go there is no Bento to compare with' && return 0; }
        note "building Bento $BENTO_VERSION (some minutes, 2.5 GB of modules)"
        rm -rf "$BENTO_HOME" && mkdir -p "$BENTO_HOME" && cp "$ROOT"/load-tests/peers/bento/* "$BENTO_HOME"
        (cd "$BENTO_HOME" && attend without_lock env CGO_ENABLED=0 GOFLAGS='-buildvcs=false -mod=mod' \
            go build -trimpath -ldflags '-s -w' -o bento . >"$TOOLS/bento.log" 2>&1) ||
            { note "Bento could not be built; see ${TOOLS#"$ROOT"/}/bento.log" && return 0; }
        touch "$BENTO_HOME/.complete"
    fi
    REPLY=$BENTO_HOME/bento
}
