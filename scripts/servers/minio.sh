# shellcheck shell=bash
# MinIO, an S3 service that honours customers' keys (SSE-C); by TLS, since it takes no such key without. Only where it is asked
# for: servers_with_bucket.

BUCKET=docfleet
BUCKET_REGION=us-east-1

minio_ports() { port_for minio "$STATE/minio"; }

# It is built here, beside the other servers' start: the first time that takes minutes.
minio_prepare() {
    local dir=$STATE/minio name
    fetched "$MINIO_HOME" || fetch minio "MinIO ${MINIO_VERSION%%-*} (built from its source; some minutes the first time)" || return 1
    mkdir -p "$dir/data" "$dir/certs" || return 1
    minio_certificate "$dir/certs" || { bad "no certificate for MinIO; see ${dir#"$ROOT"/}/certs/log" && return 1; }
    for name in access-key-id secret-access-key; do
        secret "minio-$name"
        (umask 077 && printf '%s\n' "$REPLY" >"$dir/$name")
    done
    [[ -s $dir/sse-c-key ]] || (umask 077 && openssl rand -base64 32 >"$dir/sse-c-key")
}

# An authority of our own and a certificate by it: clients take no authority for a server. Made once.
minio_certificate() {
    local dir=$1 new=$1/new
    [[ ! -s $dir/public.crt ]] || return 0
    rm -rf "$new" && mkdir -p "$new" || return 1
    (
        cd "$new" && umask 077
        key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
        openssl req -x509 "${key[@]}" -keyout ca.key -out ca.crt -days 3650 -subj '/CN=docfleet test authority' &&
            openssl req "${key[@]}" -keyout private.key -out public.csr -subj '/CN=docfleet test store' &&
            printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n' >extensions &&
            openssl x509 -req -in public.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -extfile extensions -out public.crt
    ) >"$dir/log" 2>&1 || return 1
    # The last one tells that all are there. MinIO takes every further .crt of this directory for a server's.
    mv "$new/ca.crt" "$STATE/minio/ca.crt" && mv "$new/private.key" "$dir/" && mv "$new/public.crt" "$dir/" && rm -rf "$new"
}

# The secrets by environment: arguments can be read by everybody on the machine.
minio_launch() {
    local dir=$STATE/minio
    MINIO_ROOT_USER=$(<"$dir/access-key-id") MINIO_ROOT_PASSWORD=$(<"$dir/secret-access-key") MINIO_BROWSER=off MINIO_UPDATE=off \
        launch "$dir" "$MINIO_HOME/minio" server --quiet --address "127.0.0.1:${PORT[minio]}" --certs-dir "$dir/certs" "$dir/data"
}

minio_curl() { curl --noproxy '*' -fsS --max-time 10 --cacert "$STATE/minio/ca.crt" -o /dev/null "$@" 2>/dev/null; }

minio_ready() { minio_curl "https://127.0.0.1:${PORT[minio]}/minio/health/ready"; }

# The bucket, unless it is there.
minio_after() {
    local dir=$STATE/minio bucket=https://127.0.0.1:${PORT[minio]}/$BUCKET method
    for method in HEAD PUT; do
        local request=(-X PUT)
        [[ $method == PUT ]] || request=(--head)
        printf 'user = "%s:%s"\n' "$(<"$dir/access-key-id")" "$(<"$dir/secret-access-key")" |
            minio_curl -K - --aws-sigv4 "aws:amz:$BUCKET_REGION:s3" "${request[@]}" "$bucket" && return 0
    done
    return 1
}

# minio_section: the keys of [blobs] for this service.
minio_section() {
    local dir=$STATE/minio
    cat <<TOML
url = "s3://$BUCKET"
endpoint = "https://127.0.0.1:${PORT[minio]}"
s3_region = "$BUCKET_REGION"
ca_file = "$dir/ca.crt"
access_key_id_file = "$dir/access-key-id"
secret_access_key_file = "$dir/secret-access-key"
sse_c_key_file = "$dir/sse-c-key"
TOML
}
