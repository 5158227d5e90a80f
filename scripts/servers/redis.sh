# shellcheck shell=bash
# Redis, a cache: small, evicting, snapshots now and then so that a restart is warm.

redis_ports() { port_for redis "$STATE/redis"; }

redis_prepare() { mkdir -p "$STATE/redis/data"; }

redis_launch() {
    launch "$STATE/redis" redis-server --port "${PORT[redis]}" --bind 127.0.0.1 --dir "$STATE/redis/data" \
        --daemonize no --save 60 1 --appendonly no --maxmemory 64mb --maxmemory-policy allkeys-lru
}

redis_ready() { answers "${PORT[redis]}" 'PING\r\n' 2b504f4e47; }
