//! Signature databases with a number and a date, as the real ones have: ClamAV's unsigned form (`.cud`), made by hand.

use std::time::Duration;

use sha2::{Digest, Sha256};
use time::{OffsetDateTime, macros::format_description};

/// Release `number` of `daily`, built `age` ago.
pub fn database(number: u32, age: Duration, ndb: &str) -> Vec<u8> {
    let signatures: Vec<&str> = ndb.lines().filter(|line| !line.is_empty()).collect();
    let ndb = format!("{}\n", signatures.join("\n"));
    let built = OffsetDateTime::now_utc() - age;
    let date = built.format(format_description!("[day] [month repr:short] [year] [hour]-[minute] +0000")).unwrap();
    let header = format!("ClamAV-VDB:{date}:{number}:1:90:X:X:tests:{}", built.unix_timestamp());
    let info = format!("{header}\ndaily.ndb:{}:{}\n", ndb.len(), hex(&Sha256::digest(&ndb)));
    let files = [("COPYING", "none\n"), ("daily.info", &info), ("daily.ndb", &ndb)];
    let tar: Vec<u8> = files.iter().flat_map(|(name, content)| member(name, content.as_bytes())).collect();
    let mut file = header.into_bytes();
    file.resize(512, b' ');
    file.extend(gzip(&[tar, vec![0; 1_024]].concat()));
    file
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One file of a tar archive (ustar).
pub fn member(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = vec![0_u8; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644");
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{:011o}", content.len()));
    put(136, "00000000000");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar");
    put(263, "00");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header.extend(content);
    header.resize(header.len().next_multiple_of(512), 0);
    header
}

/// A gzip file (RFC 1952) whose content is stored, not packed.
pub fn gzip(content: &[u8]) -> Vec<u8> {
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let blocks: Vec<&[u8]> = content.chunks(usize::from(u16::MAX)).collect();
    for (n, block) in blocks.iter().enumerate() {
        let length = u16::try_from(block.len()).unwrap();
        file.push(u8::from(n + 1 == blocks.len()));
        file.extend(length.to_le_bytes());
        file.extend((!length).to_le_bytes());
        file.extend(*block);
    }
    file.extend(crc32(content).to_le_bytes());
    file.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
    file
}

pub fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}
