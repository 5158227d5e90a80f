use std::path::{Path, PathBuf};

use crate::Error;

#[derive(Debug)]
pub struct File {
    pub path: PathBuf,
    /// As shown: relative to the directory that was given.
    pub name: String,
}

/// The files that `paths` name, each directory's in order of their names.
pub fn collect(paths: &[PathBuf]) -> Result<Vec<File>, Error> {
    let mut files = Vec::new();
    for path in paths {
        let metadata = std::fs::metadata(path).map_err(|source| Error::File { path: path.clone(), source })?;
        if metadata.is_dir() {
            below(path, path, &mut files)?;
        } else {
            files.push(File { path: path.clone(), name: shown(path.file_name().map_or(path.as_path(), Path::new)) });
        }
    }
    if files.is_empty() {
        return Err(Error::Usage("there is no file to submit: hidden files in directories are skipped".to_owned()));
    }
    Ok(files)
}

fn below(root: &Path, directory: &Path, files: &mut Vec<File>) -> Result<(), Error> {
    let of_directory = |source| Error::File { path: directory.to_owned(), source };
    let mut entries =
        std::fs::read_dir(directory).map_err(of_directory)?.collect::<Result<Vec<_>, _>>().map_err(of_directory)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        let kind = entry.file_type().map_err(|source| Error::File { path: path.clone(), source })?;
        // A link to a directory may lead back up; one to a file is the file.
        if kind.is_dir() {
            below(root, &path, files)?;
        } else if path.is_file() {
            files.push(File { name: shown(path.strip_prefix(root).unwrap_or(&path)), path });
        }
    }
    Ok(())
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn directories_are_walked_in_order_and_hidden_files_skipped() {
        let root = tempfile::tempdir().unwrap();
        for name in ["b.pdf", "a.png", ".hidden", "sub/c.txt", ".git/x"] {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        std::os::unix::fs::symlink(root.path(), root.path().join("loop")).unwrap();
        let hidden = root.path().join(".hidden");
        let files = collect(&[root.path().to_owned(), hidden]).unwrap();
        let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["a.png", "b.pdf", "sub/c.txt", ".hidden"], "a file that is named is meant");
    }

    #[test]
    fn nothing_to_send_and_a_missing_path_are_errors() {
        let empty = tempfile::tempdir().unwrap();
        assert!(matches!(collect(&[empty.path().to_owned()]), Err(Error::Usage(_))));
        assert!(matches!(collect(&[empty.path().join("absent")]), Err(Error::File { .. })));
    }
}
