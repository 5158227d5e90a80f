use secrecy::SecretString;
use tokio::net::TcpListener;

use super::*;
use crate::egress::system_lookup;

/// A process that was stopped between claim and send finds that another one may be sending now.
#[tokio::test]
async fn an_attempt_does_not_begin_when_its_lease_might_end_before_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let config = WebhooksConfig { allow_loopback: true, ..WebhooksConfig::default() };
    let desk = Arc::new(Desk {
        // Never used: there is nothing to mark.
        pool: PgPool::connect_lazy("postgres://nobody@127.0.0.1:9/none").expect("a URL"),
        courier: Courier::new(&config, system_lookup()).expect("TLS is set up"),
        schedule: Schedule::from(&config),
        lease: config.lease,
        total_timeout: config.total_timeout,
    });
    let delivery = Claimed {
        id: Uuid::from_u128(1),
        subscription_id: Uuid::from_u128(2),
        tenant: "acme".to_owned(),
        event_type: "document.uploaded".to_owned(),
        url,
        secret: SecretString::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        body: "{}".to_owned(),
        traceparent: None,
        attempts: 1,
        epoch: 1,
        repeats_unknown: false,
    };
    let lease_ends = Instant::now() + config.total_timeout - Duration::from_secs(1);
    assert!(!desk.attempt(delivery, lease_ends, CancellationToken::new()).await);
    let dialled = tokio::time::timeout(Duration::from_millis(100), listener.accept()).await;
    assert!(dialled.is_err(), "nobody was dialled");
}
