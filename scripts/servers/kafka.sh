# shellcheck shell=bash
# Kafka in KRaft mode: one process, broker and controller.

kafka_ports() {
    port_for kafka "$STATE/kafka"
    port_for kafka-controller "$STATE/kafka"
    ! state_is_for_chaos || { port_for kafka-proxied "$STATE/kafka" && port_for kafka-proxy; }
}

kafka_prepare() {
    local dir=$STATE/kafka id
    mkdir -p "$dir"
    kafka_properties >"$dir/server.properties"
    [[ ! -f $dir/formatted ]] || return 0
    rm -rf "$dir/data"
    # An id beginning with '-' would be taken for an option.
    id=A$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | cut -c2-22)
    "$JAVA" -XX:-UsePerfData -Xmx128m -XX:TieredStopAtLevel=1 -cp "$KAFKA_HOME/lib/*" kafka.tools.StorageTool format \
        -t "$id" -c "$dir/server.properties" >"$dir/format.log" 2>&1 || die "Kafka's storage: $(tail -n 5 "$dir/format.log")"
    touch "$dir/formatted"
}

# A broker tells its clients where to connect, so one that stands behind a proxy must know the proxy's port.
kafka_properties() {
    local listeners=PLAINTEXT://127.0.0.1:${PORT[kafka]},CONTROLLER://127.0.0.1:${PORT[kafka-controller]}
    local advertised=PLAINTEXT://127.0.0.1:${PORT[kafka]} protocols=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
    if state_is_for_chaos; then
        listeners+=,PROXIED://127.0.0.1:${PORT[kafka-proxied]}
        advertised+=,PROXIED://127.0.0.1:${PORT[kafka-proxy]}
        protocols+=,PROXIED:PLAINTEXT
    fi
    cat <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:${PORT[kafka-controller]}
controller.listener.names=CONTROLLER
listeners=$listeners
advertised.listeners=$advertised
listener.security.protocol.map=$protocols
log.dirs=$STATE/kafka/data
# Topics are made by docfleet setup; a misspelt name must fail, not become a topic.
auto.create.topics.enable=false
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=8
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=16777216
log.segment.bytes=134217728
num.network.threads=2
num.io.threads=4
PROPERTIES
}

kafka_launch() {
    launch "$STATE/kafka" "$JAVA" -XX:-UsePerfData -Djava.io.tmpdir="$STATE/kafka/tmp" -Xms512m -Xmx512m -XX:+UseG1GC -XX:MaxGCPauseMillis=20 \
        -Dlog4j2.configurationFile="$ROOT/scripts/servers/kafka/log4j2.properties" \
        -cp "$KAFKA_HOME/lib/*" kafka.Kafka "$STATE/kafka/server.properties"
}

# ApiVersions, version 0: the reply's length, our correlation id 1, no error.
kafka_ready() {
    answers "${PORT[kafka]}" '\x00\x00\x00\x0a\x00\x12\x00\x00\x00\x00\x00\x01\xff\xff' '????????000000010000'
}
