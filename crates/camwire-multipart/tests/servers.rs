//! Bodies as the servers of the field write them, cut at every place.

mod common;

use camwire_multipart::{
    Boundary, Config, ContentType, DecodeError, DecodeErrorKind, Decoder, DropReason, Dropped,
    Event, Limits, PartHead, Quirks, WrongLength,
};
use common::{Seen, decode_every_way, naive, pictures};

/// Not pictures, but they begin, end and look like some.
const A: &[u8] = b"\xFF\xD8first\r\nsecond\n-line\x00\xFF\xD9";
const B: &[u8] = b"\xFF\xD8\r\n--\r\n--FRAM\r\n--FRAMEX\r\r\n\n\xFF\xD9";

/// `text` with `{A}`, `{B}`, `{a}` and `{b}` replaced by the pictures and their lengths.
fn body(text: &str) -> Vec<u8> {
    let mut body = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        body.extend_from_slice(&rest.as_bytes()[..at]);
        match &rest[at..at + 3] {
            "{A}" => body.extend_from_slice(A),
            "{B}" => body.extend_from_slice(B),
            "{a}" => body.extend_from_slice(A.len().to_string().as_bytes()),
            "{b}" => body.extend_from_slice(B.len().to_string().as_bytes()),
            other => panic!("{other}"),
        }
        rest = &rest[at + 3..];
    }
    body.extend_from_slice(rest.as_bytes());
    body
}

/// Decodes with the default configuration, in every way; returns the events.
fn seen(content_type: &str, text: &str) -> Vec<Seen> {
    seen_by(Config::default(), content_type, text)
}

fn seen_by(config: Config, content_type: &str, text: &str) -> Vec<Seen> {
    let body = body(text);
    let decoder = Decoder::from_content_type(content_type.as_bytes(), config).unwrap();
    let seen = decode_every_way(&decoder, &body);
    let boundary = content_type.split_once("boundary=").unwrap_or(("", "")).1;
    let boundary = boundary.trim_matches('"').split(';').next().unwrap();
    assert_eq!(seen, naive::decode(&body, boundary.as_bytes(), config));
    seen
}

fn check(content_type: &str, text: &str) {
    assert_eq!(pictures(&seen(content_type, text)), [A, B], "{text}");
}

#[test]
fn espressif_camera_web_server() {
    let text = "\r\n--123456789000000000000987654321\r\n\
        Content-Type: image/jpeg\r\nContent-Length: {a}\r\nX-Timestamp: 12.000345\r\n\r\n{A}\
        \r\n--123456789000000000000987654321\r\n\
        Content-Type: image/jpeg\r\nContent-Length: {b}\r\nX-Timestamp: 12.100345\r\n\r\n{B}";
    let content_type = "multipart/x-mixed-replace;boundary=123456789000000000000987654321";
    check(content_type, text);
    let head = PartHead {
        content_length: Some(A.len() as u64),
        timestamp_us: Some(12_000_345),
        ..PartHead::default()
    };
    assert_eq!(seen(content_type, text)[0], Seen::Start(head, ContentType::Jpeg));
}

#[test]
fn arkhipenko_multi_client() {
    // The boundary once after the header, then after every frame; unquoted specials.
    check(
        "multipart/x-mixed-replace; boundary=+++===123454321===+++",
        "\r\n--+++===123454321===+++\r\nContent-Type: image/jpeg\r\nContent-Length: {a}\r\n\r\n{A}\
         \r\n--+++===123454321===+++\r\nContent-Type: image/jpeg\r\nContent-Length: {b}\r\n\r\n{B}\
         \r\n--+++===123454321===+++\r\n",
    );
}

#[test]
fn circuitpython() {
    // The delimiter before each part; the line end before the next one.
    check(
        "multipart/x-mixed-replace; boundary=FRAME",
        "--FRAME\r\nContent-Type: image/jpeg\r\nContent-Length: {a}\r\n\r\n{A}\r\n\
         --FRAME\r\nContent-Type: image/jpeg\r\nContent-Length: {b}\r\n\r\n{B}\r\n",
    );
}

#[test]
fn mjpg_streamer() {
    check(
        "multipart/x-mixed-replace;boundary=boundarydonotcross",
        "--boundarydonotcross\r\nContent-Type: image/jpeg\r\nContent-Length: {a}\r\n\
         X-Timestamp: 1700000000.123456\r\n\r\n{A}\r\n\
         --boundarydonotcross\r\nContent-Type: image/jpeg\r\nContent-Length: {b}\r\n\
         X-Timestamp: 1700000000.223456\r\n\r\n{B}\r\n--boundarydonotcross\r\n",
    );
}

#[test]
fn ustreamer() {
    check(
        "multipart/x-mixed-replace;boundary=boundarydonotcross",
        "--boundarydonotcross\r\nContent-Type: image/jpeg\r\nContent-Length: {a}\r\n\
         X-Timestamp: 1700000000.123456\r\nX-UStreamer-Online: true\r\n\
         X-UStreamer-Width: 640\r\n\r\n{A}\r\n\
         --boundarydonotcross\r\nContent-Type: image/jpeg\r\nContent-Length: {b}\r\n\
         X-Timestamp: 1700000000.223456\r\nX-UStreamer-Online: true\r\n\r\n{B}\r\n\
         --boundarydonotcross\r\n",
    );
    // With advance_headers=1: no length.
    check(
        "multipart/x-mixed-replace;boundary=boundarydonotcross",
        "--boundarydonotcross\r\nContent-Type: image/jpeg\r\n\r\n{A}\r\n\
         --boundarydonotcross\r\nContent-Type: image/jpeg\r\n\r\n{B}\r\n\
         --boundarydonotcross\r\nContent-Type: image/jpeg\r\n\r\n",
    );
}

#[test]
fn motion() {
    let lengths = |text: &str| {
        text.replace("{9a}", &format!("{:9}", A.len())).replace("{9b}", &format!("{:9}", B.len()))
    };
    check(
        "multipart/x-mixed-replace; boundary=BoundaryString",
        &lengths(
            "--BoundaryString\r\nContent-type: image/jpeg\r\nContent-Length: {9a}\r\n\r\n{A}\r\n\
             --BoundaryString\r\nContent-type: image/jpeg\r\nContent-Length: {9b}\r\n\r\n{B}\r\n",
        ),
    );
}

#[test]
fn home_assistant() {
    // The dashes are part of the parameter, and not doubled in the body.
    let text = "--frameboundary\r\nContent-Type: image/jpeg\r\nContent-Length: {a}\r\n\r\n{A}\r\n\
         --frameboundary\r\nContent-Type: image/jpeg\r\nContent-Length: {b}\r\n\r\n{B}\r\n\
         --frameboundary--\r\n";
    check("multipart/x-mixed-replace;boundary=--frameboundary", text);
    check("multipart/x-mixed-replace;boundary=frameboundary", text);
    // As RFC 2046 means it.
    let doubled = text.replace("--frameboundary", "----frameboundary");
    check("multipart/x-mixed-replace;boundary=--frameboundary", &doubled);
    // Without a length each delimiter must be told from what only begins like one.
    check(
        "multipart/x-mixed-replace;boundary=--frameboundary",
        "--frameboundary\r\nA: b\r\n\r\n{A}\r\n--frameboundary\r\nA: b\r\n\r\n{B}\r\n--frameboundary--",
    );
}

#[test]
fn ffmpeg_mpjpeg() {
    check(
        "multipart/x-mixed-replace;boundary=ffmpeg",
        "--ffmpeg\r\nContent-type: image/jpeg\r\nContent-length: {a}\r\n\r\n{A}\r\n\
         --ffmpeg\r\nContent-type: image/jpeg\r\nContent-length: {b}\r\n\r\n{B}\r\n--ffmpeg\r\n",
    );
}

#[test]
fn node_and_flask() {
    // Plain response.write; no length, sometimes a closing delimiter.
    check(
        "multipart/x-mixed-replace; boundary=\"frame\"",
        "--frame\r\nContent-Type: image/jpeg\r\n\r\n{A}\r\n\
         --frame\r\nContent-Type: image/jpeg\r\n\r\n{B}\r\n--frame--\r\nignored\r\n--frame\r\n",
    );
    // The line end before the delimiter forgotten, but a length given.
    check(
        "multipart/x-mixed-replace; boundary=--myboundary; charset=utf-8",
        "--myboundary\nContent-Type: image/jpg\nContent-length: {a}\n\n{A}\
         --myboundary\nContent-Type: image/jpg\nContent-length: {b}\n\n{B}",
    );
    // And two.
    check(
        "multipart/x-mixed-replace; boundary=x",
        "--x\r\nContent-Length: {a}\r\n\r\n{A}\r\n\r\n--x\r\nContent-Length: {b}\r\n\r\n{B}\r\n",
    );
}

#[test]
fn missing_first_delimiter() {
    for begin in
        ["Content-Type: image/jpeg\r\n\r\n{A}", "content-length: {a}\n\n{A}", "{A}", "\r\n{A}"]
    {
        for content_type in
            ["multipart/x-mixed-replace; boundary=FRAME", "multipart/x; boundary=--FRAME"]
        {
            check(
                content_type,
                &format!("{begin}\r\n--FRAME\r\nContent-Length: {{b}}\r\n\r\n{{B}}\r\n--FRAME"),
            );
        }
    }
}

#[test]
fn preamble_epilogue_padding() {
    check(
        "multipart/x-mixed-replace; boundary=FRAME",
        "Contents follow\r\n--\r\n--FRAM\r\n--FRAMED\r\n-\r\n--FRAME \t \r\nA: b\r\n\r\n{A}\r\n\
         --FRAME\t\r\nContent-Length: {b}\r\n\r\n{B}\r\n--FRAME-- \r\n--FRAME\r\n\r\nno\r\n--FRAME",
    );
    // Blank lines where there should be none.
    check(
        "multipart/x-mixed-replace; boundary=FRAME",
        "\r\n\r\n--FRAME\r\n\r\nContent-Type: image/jpeg\r\n\r\n{A}\r\n--FRAME\r\n\r\n\r\n{B}\r\n--FRAME--",
    );
}

#[test]
fn unknown_boundary() {
    check(
        "multipart/x-mixed-replace",
        "hello\r\n--\r\n-- not this \r\n--FRAME\r\nA: b\r\n\r\n{A}\r\n--FRAME\r\nA: b\r\n\r\n{B}\r\n--FRAME--",
    );
    check("multipart/x-mixed-replace", "--FRAME \nA: b\n\n{A}\n--FRAME\nA: b\n\n{B}\n--FRAME\n");
}

#[test]
fn boundary_inside_of_pictures() {
    let inside = format!("\r\n--x\r\nContent-Length: 3\r\n\r\nabc\r\n--x--{}", "\r\n--x".repeat(3));
    let text = format!(
        "--x\r\nContent-Length: {}\r\n\r\n{inside}\r\n--x\r\nContent-Length: {}\r\n\r\n{inside}\r\n--x",
        inside.len(),
        inside.len()
    );
    let seen = seen("multipart/x-mixed-replace;boundary=x", &text);
    assert_eq!(pictures(&seen), [inside.as_bytes(), inside.as_bytes()]);
}

fn reasons(seen: &[Seen]) -> Vec<DropReason> {
    let dropped = |event: &Seen| match event {
        Seen::Dropped(Dropped { reason, .. }) => Some(*reason),
        _ => None,
    };
    seen.iter().filter_map(dropped).collect()
}

/// Lengths are believed, or the part is dropped, or the stream given up.
fn refusing() -> Config {
    let quirks = Quirks { wrong_length: WrongLength::Refuse, ..Quirks::CAMERAS };
    Config { quirks, ..Config::default() }
}

#[test]
fn lies_about_lengths() {
    let part = |length: isize, picture: &str| {
        let length = A.len() as isize + length;
        format!("--x\r\nContent-Length: {length}\r\n\r\n{picture}\r\n")
    };
    for lie in [-20, -10, -3, -2, -1, 3, 4, 5, 10, 20, 40] {
        let text =
            [part(0, "{A}"), part(lie, "{A}"), part(0, "{A}"), part(0, "{A}"), "--x--".into()];
        let text = text.concat();
        let declared = (A.len() as isize + lie) as u64;
        let seen = seen_by(refusing(), "multipart/x-mixed-replace;boundary=x", &text);
        let Some(Seen::Failed(error)) = seen.last() else { panic!("{lie}: {seen:?}") };
        assert_eq!(error.kind, DecodeErrorKind::LengthMismatch { declared });
        assert_eq!(pictures(&seen), [A]);
        // By default, one that is too short costs nothing. One that is too long takes what follows
        // along: only the caller can see that.
        let seen = self::seen("multipart/x-mixed-replace;boundary=x", &text);
        let pictures = pictures(&seen);
        match lie {
            ..0 => assert_eq!(pictures, [A; 4]),
            _ => assert_eq!(
                (&pictures[0], pictures.last(), pictures.len()),
                (&A.to_vec(), Some(&A.to_vec()), 3)
            ),
        }
        assert_eq!(seen.last(), Some(&Seen::BodyEnd));
    }
    // The line end counted as part of the picture is not a lie that matters.
    let text = [part(1, "{A}"), part(2, "{A}"), "--x--".into()].concat();
    let seen = seen("multipart/x-mixed-replace;boundary=x", &text);
    assert_eq!(pictures(&seen), [[A, b"\r"].concat(), [A, b"\r\n"].concat()]);
}

#[test]
fn parts_go_on_beyond_a_length_that_is_too_small() {
    let types = "multipart/x-mixed-replace;boundary=x";
    let lengths =
        ["0", "1", "4", "23", "-1", "+5", "4 bytes", "", "0x17", "4\r\nContent-Length: 9"];
    for length in lengths {
        let part = |picture| format!("--x\r\nContent-Length: {length}\r\n\r\n{picture}\r\n");
        let text = [part("{A}"), part("{B}"), part("{A}"), "--x--".into()].concat();
        assert_eq!(pictures(&seen(types, &text)), [A, B, A], "{length}");
    }
    // What stands between the length's end and the next bytes is payload, line ends too.
    for middle in ["\r\n", "\n\n", "\r\n--", "\r\n-", "--", "\r\n--xy", &"\r\n".repeat(20)] {
        let text = format!("--x\r\nContent-Length: 3\r\n\r\nabc{middle}def\r\n--x--");
        assert_eq!(pictures(&seen(types, &text)), [format!("abc{middle}def").as_bytes()]);
    }
}

#[test]
fn delimiters_glued_to_their_neighbours() {
    let types = "multipart/x-mixed-replace;boundary=FRAME";
    check(
        types,
        "--FRAMEContent-Type: image/jpeg\r\n\r\n{A}\r\n--FRAMEcontent-length: {b}\r\n\r\n{B}\r\n--FRAME--",
    );
    check(types, "--FRAME\r\nA: b\r\n\r\n{A}--FRAME\r\nA: b\r\n\r\n{B}--FRAME--");
    check(
        types,
        "--FRAMEContent-Type: image/jpeg\r\n\r\n{A}--FRAMEContent-Type: image/jpeg\r\n\r\n{B}--FRAME--",
    );
    check("multipart/x; boundary=--FRAME", "--FRAME\n\n{A}--FRAME\n\n{B}--FRAME--");
    // Also after a part that was dropped.
    let large = "0".repeat(50);
    let text = format!(
        "--FRAME\r\nContent-Length: 3\r\n\r\n{large}{{A}}--FRAME\r\nA: b\r\n\r\n{{B}}--FRAME--"
    );
    let limits = Limits { part_bytes: 40, ..Limits::DEFAULT };
    let seen = seen_by(Config { limits, ..Config::default() }, types, &text);
    assert_eq!(pictures(&seen), [B]);
}

#[test]
fn lengths_not_believed() {
    let quirks = Quirks { wrong_length: WrongLength::Ignore, ..Quirks::CAMERAS };
    let config = Config { quirks, ..Config::default() };
    for length in ["0", "1", "-1", "999", "99999999999999999999999999"] {
        let text = format!(
            "--x\r\nContent-Length: {length}\r\n\r\n{{A}}\r\n--x\r\nContent-Length: {length}\r\n\r\n{{B}}\r\n--x--"
        );
        let seen = seen_by(config, "multipart/x-mixed-replace;boundary=x", &text);
        assert_eq!(pictures(&seen), [A, B]);
    }
}

#[test]
fn bad_heads_lose_their_part_only() {
    let limits = Limits { head_bytes: 64, head_fields: 3, part_bytes: 40, ..Limits::DEFAULT };
    let config = Config { limits, ..refusing() };
    for (head, reason) in [
        ("Content-Length: x\r\n\r\n", DropReason::BadLength),
        ("Content-Length: 1\r\nContent-Length: 2\r\n\r\n", DropReason::BadLength),
        ("Content-Length: 41\r\n\r\n", DropReason::TooLarge { needed: 41, limit: 40 }),
        (
            "Content-Length: 99999999999999999999\r\n\r\n",
            DropReason::TooLarge { needed: u64::MAX, limit: 40 },
        ),
        ("A:\r\nB:\r\nC:\r\nD:\r\n\r\n", DropReason::TooManyFields { limit: 3 }),
        (&"a".repeat(100), DropReason::HeadTooLong { limit: 64 }),
        (&"A:".repeat(33), DropReason::HeadTooLong { limit: 64 }),
        ("A: b\r\n", DropReason::HeadUnfinished),
        (
            "A: b\r\n\r\n0123456789012345678901234567890123456789!",
            DropReason::TooLarge { needed: 41, limit: 40 },
        ),
    ] {
        let text = format!("--x\r\n{head}\r\n--x\r\nA: b\r\n\r\n{{A}}\r\n--x--");
        let text = text.replace("A: b\r\n\r\n--x", "A: b\r\n--x");
        let seen = seen_by(config, "multipart/x-mixed-replace;boundary=x", &text);
        assert_eq!(reasons(&seen), [reason], "{head}");
        assert_eq!(pictures(&seen), [A], "{head}");
    }
}

#[test]
fn endless_things_end() {
    let limits = Limits { preamble_bytes: 50, resync_bytes: 60, ..Limits::DEFAULT };
    for quirks in [Quirks::CAMERAS, Quirks::NONE] {
        let config = Config { limits, quirks };
        for text in ["x".repeat(51), "\r\n".repeat(27), "\r\n--y".repeat(11), "FF".repeat(200)] {
            let seen = seen_by(config, "multipart/x-mixed-replace;boundary=x", &text);
            let [Seen::Failed(error)] = &seen[..] else { panic!("{text}: {seen:?}") };
            assert_eq!(error.offset, 50);
        }
        let text = format!("--x\r\nContent-Length: 99999999\r\n\r\n{}", "\r\n--y".repeat(30));
        let quirks = Quirks { wrong_length: WrongLength::Refuse, ..quirks };
        let config = Config { limits, quirks };
        let seen = seen_by(config, "multipart/x-mixed-replace;boundary=x", &text);
        assert!(matches!(&seen[..], [Seen::Dropped(_), Seen::Failed(_)]), "{seen:?}");
    }
    let text = format!("--{}", "x".repeat(100));
    let seen = seen_by(Config { limits, ..Config::default() }, "multipart/x-mixed-replace", &text);
    assert!(matches!(&seen[..], [Seen::Failed(_)]), "{seen:?}");
}

#[test]
fn strict_refuses_each_quirk() {
    let good = "--x\r\nContent-Length: {a}\r\n\r\n{A}\r\n--x\r\n\r\n{A}\r\n--x--\r\n";
    let seen = seen_by(Config::strict(), "multipart/x-mixed-replace;boundary=x", good);
    assert_eq!(pictures(&seen), [A, A]);
    for text in [
        "--x\nContent-Length: {a}\n\n{A}\n--x--\n",
        "Content-Length: {a}\r\n\r\n{A}\r\n--x--\r\n",
        "{A}\r\n--x--\r\n",
        "--x\r\nContent-Length: {a}\r\n\r\n{A}--x--\r\n",
        "--x\r\nContent-Length: {a}\r\n\r\n{A}\r\n\r\n--x--\r\n",
        "--x\r\njunk\r\nContent-Length: {a}\r\n\r\n{A}\r\n--x--\r\n",
        "--x\r\nContent-Length : {a}\r\n\r\n{A}\r\n--x--\r\n",
        "--xContent-Length: {a}\r\n\r\n{A}\r\n--x--\r\n",
        "--x\r\n\r\n{A}--x--\r\n",
    ] {
        let seen = seen_by(Config::strict(), "multipart/x-mixed-replace;boundary=x", text);
        assert!(pictures(&seen).is_empty(), "{text}: {seen:?}");
    }
    let decoder = Decoder::new(&Boundary::new("--x").unwrap(), Config::strict());
    assert!(
        pictures(&common::decode(decoder, [&body("--x\r\n\r\n{A}\r\n--x--")[..]], true)).is_empty()
    );
}

#[test]
fn payload_read_by_the_caller() {
    let mut decoder = Decoder::new(&Boundary::new("x").unwrap(), Config::default());
    assert_eq!(decoder.payload_ahead(), None);
    let mut events = decoder.feed(b"--x\r\nContent-Length: 10\r\n\r\nab");
    while events.next().unwrap().is_some() {}
    assert_eq!(decoder.payload_ahead(), Some(8));
    assert_eq!(decoder.skip(3), 3);
    assert_eq!(decoder.skip(100), 5);
    assert_eq!(decoder.payload_ahead(), Some(0));
    assert_eq!(decoder.skip(1), 0);
    let mut events = decoder.feed(b"\r\n--x\r");
    assert_eq!(events.next(), Ok(Some(Event::PartEnd)));
    assert_eq!(events.next(), Ok(None));
    assert_eq!(decoder.payload_ahead(), None);
}

#[test]
fn input_fed_twice_is_an_error() {
    let new = || Decoder::new(&Boundary::new("x").unwrap(), Config::default());
    let chunk = b"--x\r\n\r\nabc\r\n--x\r\n";
    let unfinished = |error: DecodeError| error.kind == DecodeErrorKind::Unfinished;
    // What is easily written.
    let (mut decoder, mut events) = (new(), 0);
    let error = loop {
        match decoder.feed(chunk).next() {
            Ok(_) => events += 1,
            Err(error) => break error,
        }
    };
    assert!(unfinished(error) && events == 1, "{error} after {events}");
    assert_eq!(decoder.feed(b"").next(), Err(error));
    // All events, or the rest.
    let mut decoder = new();
    for _ in 0..3 {
        let mut events = decoder.feed(chunk);
        while events.next().unwrap().is_some() {}
    }
    let mut rest = &chunk[..];
    while !rest.is_empty() {
        let mut events = decoder.feed(rest);
        events.next().unwrap();
        rest = events.rest();
    }
    let _ = decoder.feed(chunk);
    assert!(unfinished(decoder.feed(b"").next().unwrap_err()));
}
