//! `docfleet listen`: a webhook receiver for development. [`signature`] (Standard Webhooks) → [`receiver`] (what to
//! answer) → a line for each delivery. [`owner`] tells its own subscription from those of others.

mod owner;
mod receiver;
mod signature;

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use axum::{Router, extract::DefaultBodyLimit, routing::post};
use clap::Args;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use crate::{
    Config, Error,
    api::{Api, ApiArgs, Subscription},
    output::{self, Exit},
};
use receiver::{Receiver, receive};
use signature::Secret;

const BODY_BYTES_MAX: usize = 1024 * 1024;

const EXAMPLES: &str = "\
Examples:
  docfleet listen --register                    # subscribes by itself, and ends its subscription when it ends;
                                                # one left by a crash ends with the next start here on the same port
  docfleet listen --register --fail-first 2     # see the retries of each event
  docfleet listen --port 9800 --secret-file secret.txt

The secret may also stand in DOCFLEET_WEBHOOK_SECRET. Without a secret every delivery is accepted and shown as unverified.
The fleet dials loopback addresses only with [webhooks].allow_loopback = true.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ListenArgs {
    /// On 127.0.0.1; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 9800)]
    port: u16,
    /// Holds the subscription's secret, `whsec_…`
    #[arg(long, value_name = "FILE", conflicts_with = "register")]
    secret_file: Option<PathBuf>,
    /// Create the subscription through the API, keep its secret in memory, delete it at the end
    #[arg(long)]
    register: bool,
    /// With --register: only these, such as document.text_extracted; repeatable
    #[arg(long, value_name = "TYPE", requires = "register")]
    event_type: Vec<String>,
    /// Answer 503 to the first N deliveries of each event
    #[arg(long, value_name = "N", default_value_t = 0)]
    fail_first: u32,
    #[command(flatten)]
    api: ApiArgs,
}

pub async fn run(config: &Config, args: &ListenArgs, json: bool) -> Result<Exit, Error> {
    let wanted = SocketAddr::from(([127, 0, 0, 1], args.port));
    let of_listener = |source| Error::Listen { address: wanted.to_string(), source };
    let listener = TcpListener::bind(wanted).await.map_err(of_listener)?;
    let address = listener.local_addr().map_err(of_listener)?;
    let url = format!("http://{address}/");
    // From here on the kernel queues what comes, and nothing is answered before the secret is known.
    let api = Api::new(config, &args.api)?;
    let subscription = match args.register {
        true => Some(register(&api, &url, &owner::description(address.port()), &args.event_type).await?),
        false => None,
    };
    let secret = match &subscription {
        Some(subscription) => Some(secret_of(subscription)?),
        None => configured_secret(args)?,
    };
    let checked = if secret.is_some() { "signatures are checked" } else { "no secret: signatures are not checked" };
    output::note(&format!("listening on {url}, {checked}; Ctrl-C ends"));
    let receiver = Arc::new(Receiver::new(secret, args.fail_first, json));
    let pages = Router::new()
        .route("/", post(receive))
        .route("/{*path}", post(receive))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(receiver);
    let served = axum::serve(listener, pages).with_graceful_shutdown(stopped()?).await;
    if let Some(subscription) = subscription {
        unregister(&api, &subscription).await;
    }
    served.map_err(of_listener)?;
    Ok(Exit::Ok)
}

async fn register(api: &Api, url: &str, description: &str, event_types: &[String]) -> Result<Subscription, Error> {
    // The tenant's other subscriptions are other people's, whatever they look like.
    let left_by_us = |of: &Subscription| of.url == url && of.description.as_deref() == Some(description);
    for leftover in api.subscriptions().await?.into_iter().filter(left_by_us) {
        // Its secret died with the process that made it, so nothing that is sent for it can be verified.
        api.unsubscribe(leftover.id).await?;
    }
    api.subscribe(url, event_types, description).await
}

async fn unregister(api: &Api, subscription: &Subscription) {
    match api.unsubscribe(subscription.id).await {
        Ok(()) => output::note("the subscription is deleted"),
        Err(error) => output::note(&format!("the subscription {} is left behind: {error}", subscription.id)),
    }
}

fn secret_of(subscription: &Subscription) -> Result<Secret, Error> {
    subscription.secret.as_deref().and_then(Secret::parse).ok_or_else(|| Error::Unexpected {
        server: crate::error::Server::Api,
        request: "POST /v1/webhooks".to_owned(),
        detail: "no usable secret".to_owned(),
    })
}

fn configured_secret(args: &ListenArgs) -> Result<Option<Secret>, Error> {
    let text = match &args.secret_file {
        Some(path) => std::fs::read_to_string(path).map_err(|source| Error::File { path: path.clone(), source })?,
        None => match std::env::var("DOCFLEET_WEBHOOK_SECRET") {
            Ok(text) => text,
            Err(_) => return Ok(None),
        },
    };
    match Secret::parse(text.trim()) {
        Some(secret) => Ok(Some(secret)),
        // Without the text: it is a secret, if a broken one.
        None => Err(Error::Usage("the secret is not `whsec_` and base64".to_owned())),
    }
}

fn stopped() -> Result<impl Future<Output = ()>, Error> {
    let of_signal = |source| Error::Listen { address: "signals".to_owned(), source };
    let mut terminate = signal(SignalKind::terminate()).map_err(of_signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(of_signal)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
