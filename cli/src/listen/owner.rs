use std::{fs, path::Path};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use uuid::Uuid;

const MARK_CHARS: usize = 10;

/// The description of the subscription that a receiver on this port makes: who it is, exactly. Nobody else alive has
/// the same one, since the port is ours while we run; so one that is found is what our predecessor left behind.
pub fn description(port: u16) -> String {
    let host = line("/proc/sys/kernel/hostname");
    // Machines may share a name, and checkouts a machine; neither the machine's id nor a path is told to others.
    let machine = line("/etc/machine-id").unwrap_or_default();
    let checkout = std::env::current_dir().ok();
    match (host, checkout) {
        (Some(host), Some(checkout)) => of(&host, &machine, &checkout, port),
        // Whoever does not know where it is recognises nothing, and removes nothing.
        _ => format!("docfleet listen on an unknown host ({})", Uuid::new_v4()),
    }
}

fn of(host: &str, machine: &str, checkout: &Path, port: u16) -> String {
    let digest = Sha256::digest(format!("{machine}\n{}", checkout.display()));
    let mark: String = URL_SAFE_NO_PAD.encode(digest).chars().take(MARK_CHARS).collect();
    format!("docfleet listen on {host}, port {port} ({mark})")
}

fn line(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_place_is_recognised_and_any_other_is_not() {
        let ours = of("desk", "m1", Path::new("/src/docfleet"), 9800);
        assert_eq!(ours, of("desk", "m1", Path::new("/src/docfleet"), 9800));
        let others = [
            of("tower", "m1", Path::new("/src/docfleet"), 9800),
            of("desk", "m2", Path::new("/src/docfleet"), 9800),
            of("desk", "m1", Path::new("/src/other"), 9800),
            of("desk", "m1", Path::new("/src/docfleet"), 9801),
        ];
        assert!(others.iter().all(|other| *other != ours), "{ours}: {others:?}");
        assert!(!ours.contains("/src") && !ours.contains("m1"), "{ours}");
        assert_eq!(description(9800), description(9800));
    }
}
