use std::str::FromStr;

use docfleet_outbox::SchemaName;
use sqlx::{Connection, PgConnection, PgPool, postgres::PgConnectOptions, postgres::PgPoolOptions};

use crate::{Servers, unique_name};

/// A database of its own for one test, with all migrations.
pub struct Database {
    pool: PgPool,
    url: String,
}

/// Older test databases are dropped; no test takes this long.
const LEFTOVER_AFTER_SECONDS: u64 = 3_600;

impl Database {
    pub async fn fresh() -> Self {
        Self::fresh_on(&Servers::running()).await
    }

    pub async fn fresh_on(servers: &Servers) -> Self {
        let admin_url = servers.postgres_url();
        let mut admin = PgConnection::connect(&admin_url).await.expect("the test PostgreSQL answers");
        sweep(&mut admin).await;
        let name = unique_name();
        // The name is made of digits and hex: nothing to quote.
        sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .execute(&mut admin)
            .await
            .expect("create database");
        let mut url = url::Url::parse(&admin_url).expect("a URL");
        url.set_path(&name);
        let options = PgConnectOptions::from_str(url.as_str()).expect("a PostgreSQL URL");
        let pool = PgPoolOptions::new().max_connections(16).connect_with(options).await.expect("connect");
        let mut connection = pool.acquire().await.expect("connect");
        SchemaName::pipeline().install(&mut connection).await.expect("the outbox is installed");
        sqlx::migrate!("../../migrations").run(&mut *connection).await.expect("migrations apply");
        Self { pool, url: url.into() }
    }

    pub fn pool(&self) -> PgPool {
        self.pool.clone()
    }

    pub fn url(&self) -> &str {
        &self.url
    }
}

async fn sweep(admin: &mut PgConnection) {
    let names: Vec<String> =
        sqlx::query_scalar("SELECT datname FROM pg_database WHERE datname ~ '^t[0-9]+_[0-9a-f]{8}$'")
            .fetch_all(&mut *admin)
            .await
            .expect("list");
    let now: u64 = seconds_of(&unique_name()).expect("seconds");
    for name in names {
        let made: u64 = seconds_of(&name).unwrap_or(now);
        if made + LEFTOVER_AFTER_SECONDS < now {
            // Two tests may sweep the same leftover.
            sqlx::query(sqlx::AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")))
                .execute(&mut *admin)
                .await
                .ok();
        }
    }
}

/// When a database of this name was made, Unix time.
fn seconds_of(name: &str) -> Option<u64> {
    name.strip_prefix('t')?.split('_').next()?.parse().ok()
}
