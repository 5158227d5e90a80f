use std::{
    hash::{DefaultHasher, Hash, Hasher},
    str::FromStr,
};

use docfleet_outbox::SchemaName;
use sqlx::{
    Connection, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions, PgQueryResult},
};

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
        let template = template(&mut admin, &admin_url).await;
        execute(&mut admin, format!("CREATE DATABASE {name} TEMPLATE {template}")).await.expect("create database");
        let url = beside(&admin_url, &name);
        let options = PgConnectOptions::from_str(&url).expect("a PostgreSQL URL");
        let pool = PgPoolOptions::new().max_connections(16).connect_with(options).await.expect("connect");
        Self { pool, url }
    }

    pub fn pool(&self) -> PgPool {
        self.pool.clone()
    }

    pub fn url(&self) -> &str {
        &self.url
    }
}

/// The name of a database with all migrations, made by the first test that needs it: copying is quicker than migrating. It is
/// of today, as some tables have a partition for each day.
async fn template(admin: &mut PgConnection, admin_url: &str) -> String {
    let main = sqlx::migrate!("../../migrations");
    let mut hasher = DefaultHasher::new();
    SchemaName::pipeline().migrations().iter().chain(main.iter()).for_each(|m| m.checksum.hash(&mut hasher));
    let today: String = sqlx::query_scalar("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')")
        .fetch_one(&mut *admin)
        .await
        .expect("a date");
    let name = format!("template_{today}_{:016x}", hasher.finish());
    // Until this connection ends or lets go: others wait for the template, and nobody sees half of one.
    sqlx::query("SELECT pg_advisory_lock(hashtext($1))").bind(&name).execute(&mut *admin).await.expect("lock");
    let found = sqlx::query("SELECT FROM pg_database WHERE datname = $1").bind(&name).fetch_optional(&mut *admin).await;
    if found.expect("look").is_none() {
        let half = format!("{name}_half");
        execute(admin, format!("DROP DATABASE IF EXISTS {half} WITH (FORCE)")).await.expect("drop");
        execute(admin, format!("CREATE DATABASE {half}")).await.expect("create");
        let mut connection = PgConnection::connect(&beside(admin_url, &half)).await.expect("connect");
        SchemaName::pipeline().install(&mut connection).await.expect("the outbox is installed");
        main.run(&mut connection).await.expect("migrations apply");
        connection.close().await.expect("close");
        execute(admin, format!("ALTER DATABASE {half} RENAME TO {name}")).await.expect("rename");
    }
    sqlx::query("SELECT pg_advisory_unlock(hashtext($1))").bind(&name).execute(&mut *admin).await.expect("unlock");
    name
}

/// The names are made of letters, digits and underscores: nothing to quote.
async fn execute(admin: &mut PgConnection, sql: String) -> Result<PgQueryResult, sqlx::Error> {
    sqlx::query(sqlx::AssertSqlSafe(sql)).execute(admin).await
}

/// The URL of another database of the same server.
fn beside(url: &str, name: &str) -> String {
    let mut url = url::Url::parse(url).expect("a URL");
    url.set_path(name);
    url.into()
}

/// Drops old test databases, and templates of other days.
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
            execute(admin, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await.ok();
        }
    }
    let templates = r"SELECT datname FROM pg_database WHERE datname ~ '^template_[0-9]{8}_'
                         AND substr(datname, 10, 8) < to_char(now() AT TIME ZONE 'UTC' - interval '1 hour', 'YYYYMMDD')";
    let templates: Vec<String> = sqlx::query_scalar(templates).fetch_all(&mut *admin).await.expect("list");
    for name in templates {
        execute(admin, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await.ok();
    }
}

/// When a database of this name was made, Unix time.
fn seconds_of(name: &str) -> Option<u64> {
    name.strip_prefix('t')?.split('_').next()?.parse().ok()
}
