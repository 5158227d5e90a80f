use std::time::{Duration, Instant};

use sqlx::PgConnection;

use super::{
    Named,
    build::{self, Build},
    report::{Builds, progress},
};
use crate::{
    Error,
    output::{self, Exit},
};

const PACE: Duration = Duration::from_millis(500);

/// Waits for `state` and shows the build. `ended` means any end, `compared again` a newer comparison.
pub async fn until(
    connection: &mut PgConnection,
    id: i64,
    state: &str,
    named: &Named,
    json: bool,
) -> Result<Exit, Error> {
    let before = build::by_id(connection, id).await?;
    let build = if named.detach {
        before
    } else {
        let shows = !json && output::stderr_is_terminal();
        reached(connection, id, named.timeout, shows, |build| match state {
            "ended" => build.ended_at.is_some(),
            "compared again" => build.compared_at > before.compared_at,
            state => build.state == state && build.wanted.is_none(),
        })
        .await?
    };
    output::show(&Builds::of(vec![build], state.starts_with("compared")), json)
}

/// A build that ends otherwise is an error, as is one that nobody works on.
pub async fn reached(
    connection: &mut PgConnection,
    id: i64,
    timeout: Duration,
    shows: bool,
    is_reached: impl Fn(&Build) -> bool,
) -> Result<Build, Error> {
    let started = Instant::now();
    loop {
        let build = build::by_id(connection, id).await?;
        if is_reached(&build) {
            if shows {
                output::progress("");
            }
            return Ok(build);
        }
        if build.ended_at.is_some() {
            return Err(Error::Usage(format!("the build was {} meanwhile", build.state)));
        }
        if started.elapsed() >= timeout {
            let why = match (&build.problem, build.is_worked_on) {
                (Some(problem), _) => problem.clone(),
                (None, true) => "it goes on".to_owned(),
                (None, false) => "no projection-builder works on it: is one running?".to_owned(),
            };
            return Err(Error::Usage(format!(
                "the build is {} after {}: {why}; see `docfleet projections list`",
                build.state,
                output::age(timeout.as_secs_f64())
            )));
        }
        if shows {
            output::progress(&progress(&build));
        }
        tokio::time::sleep(PACE).await;
    }
}
