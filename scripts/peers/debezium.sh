# shellcheck shell=bash
# Debezium on Kafka Connect, the peer of our relay: its jars, from Maven Central. The bench itself starts and ends it.

DEBEZIUM_VERSION=3.6.3.Final
DEBEZIUM_HOME=$TOOLS/debezium-$DEBEZIUM_VERSION

# debezium_fetch: nothing to do the second time.
debezium_fetch() {
    mkdir -p "$TOOLS"
    fetched "$DEBEZIUM_HOME" || fetch debezium "Debezium $DEBEZIUM_VERSION and Kafka Connect (41 MB)" ||
        die "could not fetch Debezium; is the network there? ./dev bench relay --alone does without it"
}

fetch_debezium() {
    rm -rf "$DEBEZIUM_HOME"
    mvn -B -ntp -q -C -f "$ROOT/load-tests/peers/debezium/pom.xml" -Dkafka.version="$KAFKA_VERSION" \
        -Ddebezium.version="$DEBEZIUM_VERSION" "$MAVEN_COPY:copy-dependencies" -DincludeScope=runtime \
        -DoutputDirectory="$DEBEZIUM_HOME/lib" &&
        touch "$DEBEZIUM_HOME/.complete"
}
