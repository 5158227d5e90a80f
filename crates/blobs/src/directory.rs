//! A local directory. Files get their final names by a hard link: it comes to be as a whole, and fails where there is one.

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path as FsPath, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use object_store::{local::LocalFileSystem, path::Path};
use tempfile::NamedTempFile;

use crate::{Error, Kept, spool};

/// Files on their way in; what a crash left behind is removed from here.
pub(crate) const INCOMING: &str = ".incoming";
/// Much longer than an upload may take.
const LEFT_BEHIND_AFTER: Duration = Duration::from_secs(24 * 3_600);
/// Folders that are remembered as durable; then all are forgotten, which costs syncs.
const REMEMBERED_MAX: usize = 10_000;

pub(crate) struct Directory {
    pub store: LocalFileSystem,
    root: PathBuf,
    /// Folders whose entries in their parents this process has synced.
    durable: Arc<Mutex<HashSet<PathBuf>>>,
}

impl Directory {
    pub fn open(root: &FsPath) -> Result<Self, Error> {
        let wrong = |e: io::Error| Error::Config(format!("{}: {e}", root.display()));
        fs::create_dir_all(root.join(INCOMING)).map_err(wrong)?;
        let root = fs::canonicalize(root).map_err(wrong)?;
        // Who is told that a blob is stored goes on to commit a row that names it.
        let store = LocalFileSystem::new_with_prefix(&root)?.with_fsync(true);
        remove_left_behind(&root.join(INCOMING));
        Ok(Self { store, root, durable: Arc::default() })
    }

    pub async fn stage(&self) -> Result<NamedTempFile, Error> {
        let incoming = self.root.join(INCOMING);
        let create = move || {
            // As any other file: the temporary one becomes the final one, and others than its owner may read the store.
            let permissions = fs::Permissions::from_mode(0o666);
            tempfile::Builder::new().permissions(permissions).tempfile_in(incoming)
        };
        spool::blocking(create).await.map_err(Error::Spool)
    }

    /// Gives a whole file its final name, unless it is taken. Durable when it returns, also when somebody else was first
    /// and is not done yet.
    pub async fn publish(&self, staged: &Arc<NamedTempFile>, path: &Path) -> Result<Kept, Error> {
        let target = self.store.path_to_filesystem(path)?;
        let (staged, root, durable) = (Arc::clone(staged), self.root.clone(), Arc::clone(&self.durable));
        let publish = move || {
            staged.as_file().sync_all()?;
            let folder = target.parent().unwrap_or(&root);
            make_durable(folder, &root, &durable)?;
            let kept = match fs::hard_link(staged.path(), &target) {
                Ok(()) => Kept::New,
                Err(taken) if taken.kind() == io::ErrorKind::AlreadyExists => Kept::Known,
                Err(error) => return Err(error),
            };
            File::open(folder)?.sync_all()?;
            Ok(kept)
        };
        spool::blocking(publish).await.map_err(|e| Error::Unavailable(e.to_string()))
    }
}

/// Creates `folder` below `root`, with every entry on the way on the disk. Another process may have created a folder a
/// moment ago and not synced it: what is remembered is only what this process has synced itself.
fn make_durable(folder: &FsPath, root: &FsPath, durable: &Mutex<HashSet<PathBuf>>) -> io::Result<()> {
    let known = |folder: &FsPath| durable.lock().unwrap_or_else(PoisonError::into_inner).contains(folder);
    if folder == root || known(folder) {
        return Ok(());
    }
    let parent = folder.parent().unwrap_or(root);
    make_durable(parent, root, durable)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => File::open(parent)?.sync_all()?,
    }
    let mut durable = durable.lock().unwrap_or_else(PoisonError::into_inner);
    if durable.len() >= REMEMBERED_MAX {
        durable.clear();
    }
    durable.insert(folder.to_owned());
    Ok(())
}

/// Best effort: they only take room.
fn remove_left_behind(incoming: &FsPath) {
    let Ok(files) = fs::read_dir(incoming) else { return };
    for file in files.flatten() {
        let age = file.metadata().and_then(|m| m.modified()).ok().and_then(|at| at.elapsed().ok());
        if age.is_some_and(|age| age > LEFT_BEHIND_AFTER) {
            fs::remove_file(file.path()).ok();
        }
    }
}
