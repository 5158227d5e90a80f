use std::{io, net::IpAddr, net::SocketAddr, sync::Arc};

use futures::{FutureExt, future::BoxFuture};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::Rules;

/// Turns a name into addresses.
pub type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// The host's own resolver.
pub fn system_lookup() -> Lookup {
    Arc::new(|name| {
        async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|found| found.ip()).collect()) }.boxed()
    })
}

/// The name resolves, but to nothing that may be dialled. Does not say to what: subscribers read it, and are not to
/// learn how names resolve inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the host resolves to no public address")]
pub struct NotPublic;

/// Gives the connector only addresses that the rules permit. Asked anew for every connection.
#[derive(Clone)]
pub struct GuardedResolver {
    lookup: Lookup,
    rules: Rules,
}

impl GuardedResolver {
    pub fn new(lookup: Lookup, rules: Rules) -> Self {
        Self { lookup, rules }
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let Self { lookup, rules } = self.clone();
        let looking_up = lookup(name.as_str().to_owned());
        Box::pin(async move {
            let mut found = looking_up.await?;
            found.retain(|address| rules.permits(*address));
            if found.is_empty() {
                return Err(NotPublic.into());
            }
            // Port 0 stands for the URL's own.
            Ok(Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    async fn resolve(resolver: &GuardedResolver) -> Result<Vec<IpAddr>, String> {
        let name = "partner.example".parse().map_err(|_| "not a name")?;
        resolver.resolve(name).await.map(|found| found.map(|a| a.ip()).collect()).map_err(|e| e.to_string())
    }

    fn answering(answers: &'static [&'static [&'static str]]) -> GuardedResolver {
        let asked = Arc::new(AtomicUsize::new(0));
        let lookup: Lookup = Arc::new(move |_| {
            let answer = answers[asked.fetch_add(1, Ordering::SeqCst) % answers.len()];
            async move { Ok(answer.iter().filter_map(|a| a.parse().ok()).collect()) }.boxed()
        });
        GuardedResolver::new(lookup, Rules { allow_loopback: false, ports: vec![443] })
    }

    #[tokio::test]
    async fn a_name_that_turns_inwards_on_the_second_answer_is_refused_then() {
        let flipping = answering(&[&["9.9.9.9"], &["127.0.0.1"]]);
        assert_eq!(resolve(&flipping).await, Ok(vec![IpAddr::from([9, 9, 9, 9])]));
        assert_eq!(resolve(&flipping).await, Err("the host resolves to no public address".to_owned()));
        assert!(resolve(&flipping).await.is_ok());
    }

    #[tokio::test]
    async fn only_the_public_ones_of_several_addresses_are_left() {
        let mixed = answering(&[&["10.0.0.1", "9.9.9.9", "::1", "::ffff:169.254.169.254", "2620:fe::9"]]);
        let expected: Vec<IpAddr> = ["9.9.9.9", "2620:fe::9"].iter().filter_map(|a| a.parse().ok()).collect();
        assert_eq!(resolve(&mixed).await, Ok(expected));
    }

    #[tokio::test]
    async fn a_name_without_addresses_is_refused() {
        assert!(resolve(&answering(&[&[]])).await.is_err());
    }

    #[tokio::test]
    async fn the_error_does_not_say_what_the_name_resolves_to() {
        let inside = resolve(&answering(&[&["10.20.30.40"]])).await;
        assert!(inside.is_err_and(|text| !text.contains("10.20.30.40")));
    }
}
