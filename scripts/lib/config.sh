# shellcheck shell=bash
# The configuration of the fleet: written anew at each start, since a port may have changed.

CONFIG_NAME=docfleet.toml

# Documents lie in a directory, unless the demo is asked for a bucket; tests find one beside it.
config_blobs() {
    if has_bucket && [[ ${STATE##*/} == demo* ]]; then
        minio_section
        return
    fi
    printf 'url = "file://%s/blobs"\n' "$STATE"
    ! has_bucket || { printf '\n[test_bucket]\n' && minio_section; }
}

# The keys of machine-readable zones: made once, or what they sealed would be lost.
zone_keys() {
    REPLY=$STATE/zone-keys
    [[ -s $REPLY ]] || (umask 077 && printf 'dev-1 %s\n' "$(head -c 32 /dev/urandom | base64)" >"$REPLY.new" && mv "$REPLY.new" "$REPLY")
}

# config_write: STATE/docfleet.toml; only for its owner, as it holds a password. CONFIG_CHANGED=1 unless it was so before.
config_write() {
    local password zone_keys file=$STATE/$CONFIG_NAME
    secret postgres
    password=$REPLY
    zone_keys
    zone_keys=$REPLY
    registry_url
    (
        umask 077
        cat >"$file.new" <<TOML
# Written by ./dev at each start; your changes would be lost. Environment variables such as DOCFLEET__OCR__LANGUAGES go
# before it.
[postgres]
url = "postgres://$POSTGRES_ROLE:$password@127.0.0.1:${PORT[postgres]}/docfleet"

[kafka]
brokers = "127.0.0.1:${PORT[kafka]}"

[registry]
url = "$REPLY"

[redis]
url = "redis://127.0.0.1:${PORT[redis]}/"

[clamd]
addresses = ["127.0.0.1:${PORT[clamd]}"]
# The signature file of this repository has no date. In production leave the limit at its default.
database_age_max = "unlimited"

[blobs]
$(config_blobs)

[api]
listen = "127.0.0.1:${PORT[api]:-0}"

[ocr]
mrz_key_file = "$zone_keys"

[webhooks]
# The receiver of ./dev listens on this machine; elsewhere a webhook never goes to a private address.
allow_loopback = true
TOML
    )
    CONFIG_CHANGED=1
    ! cmp -s "$file" "$file.new" || CONFIG_CHANGED=0
    mv -f "$file.new" "$file"
}
