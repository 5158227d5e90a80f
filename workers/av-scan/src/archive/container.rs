//! Files that hold other files and are no ZIP, by their first bytes.

/// So much of a stream's beginning is looked at: the mark of an ISO 9660 image comes last.
pub const HEAD_BYTES: usize = 32_769 + 5;

/// Where the mark stands, and what it is.
const MARKS: [(usize, &[u8]); 25] = [
    (0, b"\x1f\x8b"),           // gzip
    (0, b"\x1f\x9d"),           // compress
    (0, b"\x1f\xa0"),           // compress, older
    (0, b"BZh"),                // bzip2
    (0, b"\xfd7zXZ\0"),         // xz
    (0, b"\x28\xb5\x2f\xfd"),   // zstd
    (0, b"\x04\x22\x4d\x18"),   // lz4
    (0, b"LZIP"),               // lzip
    (0, b"7z\xbc\xaf\x27\x1c"), // 7-Zip
    (0, b"Rar!\x1a\x07"),       // RAR
    (0, b"MSCF"),               // Microsoft cabinet
    (0, b"ISc("),               // InstallShield cabinet
    (0, b"\x60\xea"),           // ARJ
    (7, b"**ACE**"),            // ACE
    (2, b"-lh"),                // LHA
    (0, b"!<arch>\n"),          // ar, Debian packages
    (0, b"070701"),             // cpio
    (0, b"070702"),             // cpio with sums
    (0, b"070707"),             // cpio, older
    (0, b"\xed\xab\xee\xdb"),   // RPM
    (0, b"xar!"),               // xar
    (0, b"MSWIM\0\0\0"),        // Windows image
    (0, b"ITSF"),               // compiled help
    (257, b"ustar"),            // tar
    (32_769, b"CD001"),         // ISO 9660
];

/// Properties, dictionary and size of a bare LZMA stream, which has no mark: what every packer writes today.
const LZMA_START: &[u8] = b"\x5d\0\0";

/// Whether `head`, the first [`HEAD_BYTES`] of a stream, begins a container that is no ZIP. clamd reads most of them; but
/// over a ZIP in a tar file in them it is as silent as over a bare one, and here only ZIPs are looked into.
pub fn is_one(head: &[u8]) -> bool {
    let bare_lzma =
        head.starts_with(LZMA_START) && head.get(5..13).is_some_and(|size| size == [0xff; 8] || size[5..] == [0; 3]);
    bare_lzma || MARKS.iter().any(|(at, mark)| head.get(*at..).is_some_and(|rest| rest.starts_with(mark)))
}

/// The first bytes of ZIP, RAR and cabinet files in base64, as a line of an e-mail begins with them.
const AS_TEXT: [&[u8]; 3] = [b"UEsDB", b"UmFyI", b"TVNDR"];

/// Whether a line of `bytes` begins an archive in base64, of the kinds over which clamd is silent. `from_start`: the first
/// byte begins a line.
pub fn in_base64(bytes: &[u8], from_start: bool) -> bool {
    let begins = |line: &[u8]| AS_TEXT.iter().any(|text| line.starts_with(text));
    let after = |newline: usize| bytes.get(newline + 1..).is_some_and(begins);
    from_start && begins(bytes) || bytes.iter().enumerate().any(|(at, byte)| *byte == b'\n' && after(at))
}
