# shellcheck shell=bash
# Apicurio Registry, keeping its schemas in PostgreSQL; spoken to by its Confluent-compatible API.

registry_ports() {
    port_for registry "$STATE/registry"
    port_for registry-management "$STATE/registry"
}

registry_url() { REPLY=http://127.0.0.1:${PORT[registry]}/apis/ccompat/v7; }

registry_prepare() { :; }

registry_launch() {
    secret postgres
    # It would open 20 connections at once and keep them.
    local pool=(-Dapicurio.datasource.jdbc.initial-size=1 -Dapicurio.datasource.jdbc.min-size=1 -Dapicurio.datasource.jdbc.max-size=10)
    # The password by environment: arguments can be read by everybody on the machine.
    APICURIO_DATASOURCE_PASSWORD=$REPLY launch "$STATE/registry" "$JAVA" -XX:-UsePerfData -Djava.io.tmpdir="$STATE/registry/tmp" -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
        -Dquarkus.profile=prod -Dquarkus.http.host=127.0.0.1 -Dquarkus.http.port="${PORT[registry]}" \
        -Dquarkus.management.host=127.0.0.1 -Dquarkus.management.port="${PORT[registry-management]}" \
        -Dapicurio.storage.kind=sql -Dapicurio.storage.sql.kind=postgresql \
        -Dapicurio.datasource.url="jdbc:postgresql://127.0.0.1:${PORT[postgres]}/apicurio" -Dapicurio.datasource.username="$POSTGRES_ROLE" \
        "${pool[@]}" \
        -jar "$REGISTRY_HOME/quarkus-run.jar"
}

registry_ready() {
    registry_url
    http_ok "$REPLY/subjects"
}

# Its default is to accept any change of a schema.
registry_after() {
    registry_url
    curl --noproxy '*' -fsS --max-time 10 -o /dev/null -X PUT -H 'Content-Type: application/json' \
        -d '{"compatibility":"BACKWARD_TRANSITIVE"}' "$REPLY/config"
}
