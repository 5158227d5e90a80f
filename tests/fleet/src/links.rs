use std::net::SocketAddr;

use docfleet_testkit::{
    Servers,
    proxy::{Proxy, Weather},
};

use crate::servers::OwnServers;

/// Between the fleet and each of its servers. What the tests themselves ask goes past them.
pub struct Links {
    pub postgres: Proxy,
    pub kafka: Proxy,
    pub redis: Proxy,
    pub clamd: Proxy,
    pub registry: Proxy,
    /// Server's address, link's address.
    ways: Vec<(String, SocketAddr)>,
}

impl Links {
    pub async fn start(servers: &OwnServers, known: &Servers) -> Self {
        let (postgres_url, redis_url, registry_url) = (known.postgres_url(), known.redis_url(), known.registry_url());
        let at = |address: &str| address.parse::<SocketAddr>().unwrap();
        // A broker tells its clients where to connect: to this port, which it was told.
        let behind = SocketAddr::from(([127, 0, 0, 1], servers.port("kafka-proxied")));
        let kafka = Proxy::start(servers.port("kafka-proxy"), behind).await;
        let postgres = Proxy::start(0, at(authority(&postgres_url))).await;
        let redis = Proxy::start(0, at(authority(&redis_url))).await;
        let clamd = Proxy::start(0, at(&known.clamd_address())).await;
        let registry = Proxy::start(0, at(authority(&registry_url))).await;
        let ways = vec![
            (authority(&postgres_url).to_owned(), postgres.address()),
            (known.brokers(), kafka.address()),
            (authority(&redis_url).to_owned(), redis.address()),
            (known.clamd_address(), clamd.address()),
            (authority(&registry_url).to_owned(), registry.address()),
        ];
        Self { postgres, kafka, redis, clamd, registry, ways }
    }

    /// A configuration that names the links instead of the servers.
    pub fn through(&self, direct: &str) -> String {
        self.ways.iter().fold(direct.to_owned(), |toml, (server, link)| toml.replace(server, &link.to_string()))
    }

    pub fn all(&self) -> [&Proxy; 5] {
        [&self.postgres, &self.kafka, &self.redis, &self.clamd, &self.registry]
    }

    pub fn set_all(&self, weather: Weather) {
        self.all().into_iter().for_each(|link| link.set(weather));
    }

    pub fn clear(&self) {
        self.all().into_iter().for_each(Proxy::clear);
    }
}

/// `host:port` of a URL.
fn authority(url: &str) -> &str {
    let rest = url.split_once("//").unwrap().1;
    let before_path = rest.split('/').next().unwrap();
    before_path.rsplit('@').next().unwrap()
}
