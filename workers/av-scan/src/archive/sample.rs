//! ZIP archives made by hand for tests, honest and otherwise. A member with method 8 is packed; with flag 8 its sizes stand
//! behind it.

#[derive(Clone)]
pub struct Entry<'a> {
    pub name: &'a str,
    pub bytes: &'a [u8],
    pub flags: u16,
    pub method: u16,
    /// The local header says "see ZIP64", the directory does not.
    pub zip64: bool,
    /// What the directory claims instead of the true size.
    pub claimed_bytes: Option<u32>,
}

impl<'a> Entry<'a> {
    pub fn honest(name: &'a str, bytes: &'a [u8]) -> Self {
        Self { name, bytes, flags: 0, method: 0, zip64: false, claimed_bytes: None }
    }
}

pub fn zip(entries: &[Entry<'_>]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        let start = u32::try_from(file.len()).unwrap();
        let plain = u32::try_from(entry.bytes.len()).unwrap();
        let packed = match entry.method {
            8 => miniz_oxide::deflate::compress_to_vec(entry.bytes, 6),
            _ => entry.bytes.to_vec(),
        };
        let size = u32::try_from(packed.len()).unwrap();
        let name = u16::try_from(entry.name.len()).unwrap();
        let (local_size, extra) = if entry.zip64 { (u32::MAX, zip64_extra(size)) } else { (size, Vec::new()) };
        let described = entry.flags & 8 != 0;
        file.extend(b"PK\x03\x04");
        push(&mut file, &[if entry.zip64 { 45 } else { 20 }, entry.flags, entry.method, 0, 33]);
        file.extend([0; 4]);
        let local_plain = if entry.zip64 { u32::MAX } else { plain };
        for size in [local_size, local_plain] {
            file.extend(if described { 0 } else { size }.to_le_bytes());
        }
        push(&mut file, &[name, u16::try_from(extra.len()).unwrap()]);
        file.extend(entry.name.as_bytes());
        file.extend(extra);
        file.extend(packed);
        if described {
            file.extend(b"PK\x07\x08");
            for number in [0, size, plain] {
                file.extend(u32::to_le_bytes(number));
            }
        }
        directory.extend(b"PK\x01\x02");
        push(&mut directory, &[20, 20, entry.flags, entry.method, 0, 33]);
        directory.extend([0; 4]);
        directory.extend(size.to_le_bytes());
        directory.extend(entry.claimed_bytes.unwrap_or(plain).to_le_bytes());
        push(&mut directory, &[name, 0, 0, 0, 0, 0, 0]);
        directory.extend(start.to_le_bytes());
        directory.extend(entry.name.as_bytes());
    }
    let (count, start) = (u16::try_from(entries.len()).unwrap(), u32::try_from(file.len()).unwrap());
    let size = u32::try_from(directory.len()).unwrap();
    file.extend(directory);
    file.extend(b"PK\x05\x06");
    push(&mut file, &[0, 0, count, count]);
    file.extend(size.to_le_bytes());
    file.extend(start.to_le_bytes());
    push(&mut file, &[0]);
    file
}

fn push(to: &mut Vec<u8>, numbers: &[u16]) {
    for number in numbers {
        to.extend(number.to_le_bytes());
    }
}

fn zip64_extra(size: u32) -> Vec<u8> {
    let mut extra = vec![1, 0, 16, 0];
    extra.extend(u64::from(size).to_le_bytes());
    extra.extend(u64::from(size).to_le_bytes());
    extra
}
