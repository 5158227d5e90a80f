use std::net::IpAddr;

use url::{Host, Url};

use crate::WebhooksConfig;

/// Where a webhook may go.
#[derive(Debug, Clone)]
pub struct Rules {
    /// For development: loopback, any port and plain `http` are allowed too.
    pub allow_loopback: bool,
    pub ports: Vec<u16>,
}

/// Why a URL is not dialled, in words for its subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the URL can not be read")]
    NotAUrl,
    #[error("the URL's scheme is not https")]
    Scheme,
    #[error("the URL has a user name or a password in it")]
    Userinfo,
    #[error("the URL's port is not allowed")]
    Port,
    #[error("the URL's address is not a public one")]
    NotPublic,
}

impl From<&WebhooksConfig> for Rules {
    fn from(config: &WebhooksConfig) -> Self {
        Self { allow_loopback: config.allow_loopback, ports: config.ports.clone() }
    }
}

impl Rules {
    pub fn permits(&self, address: IpAddr) -> bool {
        super::is_public(address) || (self.allow_loopback && address.to_canonical().is_loopback())
    }

    /// All that can be said of a URL without resolving its host. The parser has brought each notation of an IPv4 address
    /// (`0x7f.1`, `2130706433`, full-width digits) into its one form before the host is looked at.
    pub fn check(&self, url: &str) -> Result<Url, Refusal> {
        let url = Url::parse(url).map_err(|_| Refusal::NotAUrl)?;
        match url.scheme() {
            "https" => {}
            "http" if self.allow_loopback => {}
            _ => return Err(Refusal::Scheme),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::Userinfo);
        }
        let literal = match url.host().ok_or(Refusal::NotAUrl)? {
            Host::Ipv4(v4) => Some(IpAddr::V4(v4)),
            Host::Ipv6(v6) => Some(IpAddr::V6(v6)),
            Host::Domain(_) => None,
        };
        if literal.is_some_and(|address| !self.permits(address)) {
            return Err(Refusal::NotPublic);
        }
        let port = url.port_or_known_default().ok_or(Refusal::Port)?;
        if !self.allow_loopback && !self.ports.contains(&port) {
            return Err(Refusal::Port);
        }
        Ok(url)
    }
}

#[cfg(test)]
mod tests;
