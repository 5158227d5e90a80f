use proptest::prelude::*;

use super::*;

fn infected(name: &str) -> Result<Answer, Surprise> {
    Ok(Answer::Infected { signature: name.to_owned() })
}

#[test]
fn the_literal_is_clean_and_its_neighbours_are_not() {
    assert_eq!(parse(b"stream: OK\0"), Ok(Answer::Clean));
    for near in [
        "stream: OK",
        "stream: OK\n",
        "stream: OK\0\0",
        "stream: OK \0",
        "stream:OK\0",
        " stream: OK\0",
        "Stream: OK\0",
        "stream: ok\0",
        "OK\0",
        "stream: \0",
        "stream: OK\r\0",
        "1: stream: OK\0",
        "stream: OK\0stream: OK\0",
        "stream: OK\0stream: Eicar FOUND\0",
        "stream: Eicar FOUND\0stream: OK\0",
        "/tmp/x: OK\0",
        "PONG\0",
        "\0",
    ] {
        assert!(!matches!(parse(near.as_bytes()), Ok(Answer::Clean)), "{near:?}");
    }
}

#[test]
fn a_signature_is_an_infection_whatever_its_name() {
    assert_eq!(parse(b"stream: Eicar-Test-Signature.UNOFFICIAL FOUND\0"), infected("Eicar-Test-Signature.UNOFFICIAL"));
    assert_eq!(parse(b"stream: OK FOUND\0"), infected("OK"));
    assert_eq!(parse(b"stream: OK.Trojan FOUND\0"), infected("OK.Trojan"));
    assert_eq!(
        parse(b"stream: Eicar(44d88612fea8a8f36de82e1278abb02f:68) FOUND\0"),
        infected("Eicar(44d88612fea8a8f36de82e1278abb02f:68)")
    );
    assert_eq!(parse(b"stream: a ERROR FOUND\0"), infected("a ERROR"));
    assert_eq!(parse(b"stream: Heuristics.Phishing.Email FOUND\0"), infected("Heuristics.Phishing.Email"));
    assert_eq!(parse(b"stream:   FOUND\0"), Err(Surprise::Garbled));
    assert_eq!(parse(b"stream: a\nb FOUND\0"), Err(Surprise::Garbled));
    assert_eq!(parse(b"stream: Eicar FOUND"), Err(Surprise::Partial));
}

#[test]
fn limits_and_encryption_are_unscannable() {
    for (raw, reason) in [
        ("INSTREAM size limit exceeded. ERROR\0", Unscannable::TooLarge),
        ("stream: Heuristics.Limits.Exceeded FOUND\0", Unscannable::LimitsExceeded),
        ("stream: Heuristics.Limits.Exceeded.MaxScanSize FOUND\0", Unscannable::LimitsExceeded),
        ("stream: Time limit reached ERROR\0", Unscannable::LimitsExceeded),
        ("stream: Heuristics.Encrypted.Zip FOUND\0", Unscannable::Encrypted),
        ("stream: Heuristics.Encrypted.PDF FOUND\0", Unscannable::Encrypted),
        ("stream: Can't unpack some data ERROR\0", Unscannable::Malformed),
    ] {
        assert_eq!(parse(raw.as_bytes()), Ok(Answer::Unscannable(reason)), "{raw:?}");
    }
}

#[test]
fn trouble_of_the_engine_is_no_fact_about_the_document() {
    for raw in [
        "stream: Can't allocate memory ERROR\0",
        "INSTREAM: Can't write to temporary file. ERROR\0",
        "stream: whatever ERROR\0",
    ] {
        assert!(matches!(parse(raw.as_bytes()), Err(Surprise::EngineError(_))), "{raw:?}");
    }
    for (raw, surprise) in [
        (&b""[..], Surprise::Empty),
        (b"stream: Eic", Surprise::Partial),
        (b"UNKNOWN COMMAND\0", Surprise::Garbled),
        (b"stream: \xff\xfe FOUND\0", Surprise::Garbled),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n\0", Surprise::Garbled),
    ] {
        assert_eq!(parse(raw), Err(surprise));
    }
    let mut endless = b"stream: ".to_vec();
    endless.extend(vec![b'a'; REPLY_BYTES_MAX]);
    endless.extend(b" FOUND\0");
    assert_eq!(parse(&endless), Err(Surprise::Garbled));
}

proptest! {
    #[test]
    fn nothing_but_the_literal_is_clean(
        raw in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..64),
            "(stream: )?(OK|Eicar|Heuristics\\.Limits\\.Exceeded)?( OK| FOUND| ERROR|\n|\0){0,3}\0?".prop_map(String::into_bytes),
        ],
    ) {
        prop_assert_eq!(parse(&raw) == Ok(Answer::Clean), raw == b"stream: OK\0");
    }

    #[test]
    fn one_changed_byte_is_not_clean(at in 0_usize..11, byte in any::<u8>()) {
        let mut raw = b"stream: OK\0".to_vec();
        prop_assume!(raw[at] != byte);
        raw[at] = byte;
        prop_assert_ne!(parse(&raw), Ok(Answer::Clean));
    }
}
