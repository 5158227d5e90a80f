//! Landlock: the only files that are still there.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, Scope,
};

use crate::{
    Jail,
    report::{Lock, Report},
};

/// Asked for; an older kernel denies what it knows.
const NEWEST: ABI = ABI::V10;
/// Starts programs, so it has to be startable.
const LOADERS: [&str; 3] =
    ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1", "/lib64/ld-linux-aarch64.so.1"];

pub fn lock(jail: &Jail, report: &mut Report) {
    let status = match restrict(jail) {
        Ok(status) => status,
        Err(error) => {
            let why = error.to_string();
            [Lock::Files, Lock::Tcp, Lock::Scope].into_iter().for_each(|lock| report.note(lock, Err::<(), _>(&why)));
            return;
        }
    };
    for (lock, since) in [(Lock::Files, ABI::V1), (Lock::Tcp, ABI::V4), (Lock::Scope, ABI::V6)] {
        report.note(
            lock,
            match status {
                LandlockStatus::Available { effective_abi, .. } if effective_abi >= since => Ok(()),
                LandlockStatus::Available { effective_abi, .. } => {
                    Err(format!("Landlock is of version {}, needed is {}", effective_abi as u8, since as u8))
                }
                LandlockStatus::NotEnabled => Err("Landlock is switched off in this kernel".to_owned()),
                LandlockStatus::NotImplemented => Err("this kernel has no Landlock".to_owned()),
            },
        );
    }
}

fn restrict(jail: &Jail) -> Result<LandlockStatus, RulesetError> {
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    let loaders = LOADERS.iter().map(Path::new);
    let programs = jail.programs.iter().map(AsRef::as_ref).chain(loaders);
    let allowed = (jail.readable.iter().map(|path| (path.as_path(), AccessFs::ReadFile | AccessFs::ReadDir)))
        .chain(jail.writable.iter().map(|path| (path.as_path(), AccessFs::ReadFile | AccessFs::WriteFile)))
        .chain(programs.map(|path| (path, AccessFs::ReadFile | AccessFs::Execute)));
    for (path, access) in allowed {
        let Ok(opened) = PathFd::new(path) else { continue };
        // A directory's rights have no meaning for a file, and Landlock says so.
        let access = if path.is_dir() { access } else { access & !BitFlags::from(AccessFs::ReadDir) };
        rules = rules.add_rule(PathBeneath::new(opened, access))?;
    }
    Ok(rules.restrict_self()?.landlock)
}
