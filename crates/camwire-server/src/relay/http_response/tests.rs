use super::*;
use embassy_futures::block_on;
use proptest::prelude::*;
use std::convert::Infallible;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, vec};

/// Gives at most so many bytes at once.
struct Pieces {
    rest: Vec<u8>,
    size: usize,
}

impl ErrorType for Pieces {
    type Error = Infallible;
}

impl Read for Pieces {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Infallible> {
        assert!(!buf.is_empty(), "an empty read says nothing");
        let count = self.rest.len().min(self.size).min(buf.len());
        buf[..count].copy_from_slice(&self.rest[..count]);
        self.rest.drain(..count);
        Ok(count)
    }
}

type Fields = Vec<(String, String)>;

#[derive(Clone, Debug, PartialEq)]
struct Seen {
    status: u16,
    fields: Fields,
    kind: BodyKind,
    body: Vec<u8>,
}

fn read_in(bytes: &[u8], size: usize, peek: bool) -> Result<Seen, HttpResponseError<Infallible>> {
    let mut fields = Fields::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).to_string();
    let reader = Pieces { rest: bytes.to_vec(), size };
    block_on(async {
        let opened: Result<HttpResponse<_, 128>, _> =
            HttpResponse::open(reader, |name, value| fields.push((text(name), text(value)))).await;
        let mut response = opened?;
        let kind = if peek { response.kind().await? } else { BodyKind::Other };
        let (mut body, mut buf) = (Vec::new(), [0; 50]);
        loop {
            match response.read(&mut buf).await? {
                0 => return Ok(Seen { status: response.status(), fields, kind, body }),
                count => body.extend_from_slice(&buf[..count]),
            }
        }
    })
}

/// Reads in pieces of several sizes, with the same result.
fn read(bytes: &[u8]) -> Result<Seen, HttpResponseError<Infallible>> {
    let seen = read_in(bytes, 1 << 20, true);
    for size in [1, 2, 3, 7, 50, 127, 128] {
        assert_eq!(read_in(bytes, size, true), seen, "in pieces of {size}");
    }
    let unseen = seen.clone().map(|seen| Seen { kind: BodyKind::Other, ..seen });
    assert_eq!(read_in(bytes, 10, false), unseen);
    seen
}

fn fields(pairs: &[(&str, &str)]) -> Fields {
    pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

/// What is found in the field is one line more.
#[test]
fn answers_that_browsers_take() {
    let stream = &[("Content-Type", "multipart/x-mixed-replace;boundary=x")][..];
    let cases: &[(&str, &[(&str, &str)])] = &[
        ("HTTP/1.1 200 OK\r\nA: b\r\n\r\n", &[("A", "b")]),
        ("HTTP/1.0 200\r\n\r\n", &[]),
        ("HTTP/1.1 200OK\r\n\r\n", &[]),
        ("http/1.1  200  Fine \r\n\r\n", &[]),
        ("ICY 200 OK\r\n\r\n", &[]),
        ("\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", &[]),
        ("HTTP/1.1 200 OK\n\n", &[]),
        ("HTTP/1.1 200 OK\nContent-Type:multipart/x-mixed-replace;boundary=x\r\n\n", stream),
        ("HTTP/1.1 200 OK\r\nContent-Type : multipart/x-mixed-replace;boundary=x \r\n\r\n", stream),
        ("HTTP/1.1 200 OK\r\nno colon\r\nTue, 1 Dec\r\n: no name\r\n \r\nA:\r\n\r\n", &[("A", "")]),
        (
            "HTTP/1.1 200 OK\r\n folded\r\nA: b\r\n  c\r\n\td\r\nE: f\r\n\r\n",
            &[("A", "b  c\td"), ("E", "f")],
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\nContent-Length: 3\r\n\r\n",
            &[("Content-Length", "-1"), ("Content-Length", "3")],
        ),
        (
            "HTTP/1.1 100 Continue\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nC: d\r\n\r\n",
            &[("A", "b"), ("C", "d")],
        ),
        ("HTTP/1.1 200 OK\r\nA: \u{fc}\u{0}\r\n\r\n", &[("A", "\u{fc}\u{0}")]),
    ];
    for (head, expected) in cases {
        for (body, kind) in [
            ("--x\r\n\r\nbody", BodyKind::Multipart),
            ("\r\n\r\n--", BodyKind::Multipart),
            ("content-length: 3", BodyKind::Multipart),
            ("content", BodyKind::Other),
            ("<html>", BodyKind::Other),
            ("-", BodyKind::Other),
            ("", BodyKind::Other),
        ] {
            let seen = read(&[head.as_bytes(), body.as_bytes()].concat()).unwrap();
            let expected = Seen { status: 200, fields: fields(expected), kind, body: body.into() };
            assert_eq!(seen, expected, "{head}");
        }
    }
    for body in [&b"\xFF\xD8\xFF\xE0"[..], b"\0\0\xFF\xD8", b"\xFF\xFF\xD8", b"\r\n\xFF\xD8"] {
        let seen = read(&[b"HTTP/1.1 200 OK\r\n\r\n", body].concat()).unwrap();
        assert_eq!((seen.kind, &*seen.body), (BodyKind::Jpeg, body));
    }
}

#[test]
fn answers_that_are_none() {
    let long = "A: b\r\n".repeat(3000);
    for (bytes, expected) in [
        ("", HttpResponseError::Ended),
        ("HTTP/1.1 200 OK\r\nA: b\r\n", HttpResponseError::Ended),
        ("SSH-2.0-x\r\n\r\n", HttpResponseError::NotHttp),
        ("--x\r\nContent-Type: image/jpeg\r\n\r\n", HttpResponseError::NotHttp),
        ("HTTP/1.1 OK\r\n\r\n", HttpResponseError::NotHttp),
        ("HTTP/1.1 2000 OK\r\n\r\n", HttpResponseError::NotHttp),
        ("HTTP/1.1 020 OK\r\n\r\n", HttpResponseError::NotHttp),
        ("HTTP/1.1\r\n\r\n", HttpResponseError::NotHttp),
        (&format!("HTTP/1.1 200 OK\r\n{long}"), HttpResponseError::HeadTooLong { limit: 16 << 10 }),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n--x\r\n", HttpResponseError::Chunks),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11111111111111111\r\n",
            HttpResponseError::Chunks,
        ),
    ] {
        assert_eq!(read(bytes.as_bytes()), Err(expected), "{bytes}");
    }
    for status in [204, 302, 401, 404, 503] {
        let seen = read(format!("HTTP/1.1 {status} Reason\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(seen.status, status);
    }
}

#[test]
fn fields_that_are_too_long_are_passed_over() {
    let long = "x".repeat(200);
    let text = format!(
        "HTTP/1.1 200 {long}\r\nA: {long}\r\n{long}: b\r\nC: d\r\n e{long}\r\nF: g\r\n\r\n"
    );
    assert_eq!(read(text.as_bytes()).unwrap().fields, fields(&[("F", "g")]));
}

#[test]
fn chunked_bodies() {
    for (body, expected) in [
        ("3\r\nabc\r\n0\r\n\r\n", "abc"),
        ("0003;a=b\r\nabc\r\nA \r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nmore", "abc0123456789"),
        ("3\nabc\n1\nd\n0\n\n", "abcd"),
        ("3\r\nabc1\r\nd", "abcd"), // no line end behind a chunk, and no end
        ("\r\n3\r\nabc", "abc"),
        ("5\r\nabc", "abc"),
        ("0\r\n\r\n", ""),
        ("", ""),
    ] {
        let text = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n{body}");
        assert_eq!(read(text.as_bytes()).unwrap().body, expected.as_bytes(), "{body}");
    }
}

#[test]
fn no_storm_of_connections() {
    let at = |millis| Instant::ZERO + Duration::from_millis(millis);
    let mut reconnect = Reconnect::new();
    // Refused.
    let mut now = 0;
    for wait in [1000, 2000, 4000, 5000, 5000] {
        reconnect.opened(at(now));
        reconnect.closed(at(now + 20), false);
        assert_eq!(reconnect.due(), at(now + 20 + wait));
        now += 20 + wait;
    }
    // It is there, but closes after each frame.
    for _ in 0..5 {
        reconnect.opened(at(now));
        reconnect.closed(at(now + 50), true);
        assert_eq!(reconnect.due(), at(now + 1000));
        now += 1000;
    }
    // Which is no reason to ask it more often than before when it fails again.
    reconnect.opened(at(now));
    reconnect.closed(at(now), false);
    assert_eq!(reconnect.due(), at(now + 5000));
    // But one that lasted is.
    now += 5000;
    reconnect.opened(at(now));
    reconnect.closed(at(now + 10_000), true);
    assert!(reconnect.due() <= at(now + 10_000));
    reconnect.opened(at(now + 10_000));
    reconnect.closed(at(now + 10_000), false);
    assert_eq!(reconnect.due(), at(now + 11_000));
}

proptest! {
    /// However it is cut, and whatever it is.
    #[test]
    fn any_answer_in_any_pieces(
        parts in proptest::collection::vec(
            prop_oneof![
                proptest::sample::select(vec![
                    &b"HTTP/1.1 200 OK\r\n"[..], b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"A: b\r\n",
                    b"Transfer-Encoding: chunked\r\n", b"\r\n\r\n", b"HTTP/1.1 100\r\n\r\n", b"3\r\n",
                    b"0\r\n", b";", b"--x", b"\xFF\xD8", b"content-", b"ff",
                ]).prop_map(<[u8]>::to_vec),
                proptest::collection::vec(any::<u8>(), 0..6),
            ],
            0..20,
        ),
        has_status: bool,
    ) {
        let start = if has_status { &b"HTTP/1.1 200 OK\r\n"[..] } else { b"" };
        let _ = read(&[start, &parts.concat()].concat());
    }

    /// Whatever httparse takes as an answer, is taken as the same answer.
    #[test]
    fn like_httparse(
        status in "HTTP/1\\.[01] [1-9][0-9]{2}( [ -~]{0,9})?",
        lines in proptest::collection::vec("([!-~&&[^:]]{1,9}):[ \t]*[ -~]{0,12}[ \t]*", 0..5),
    ) {
        let head = format!("{status}\r\n{}\r\n", lines.iter().map(|line| format!("{line}\r\n")).collect::<String>());
        let mut headers = [httparse::EMPTY_HEADER; 8];
        let mut response = httparse::Response::new(&mut headers);
        if let Ok(httparse::Status::Complete(_)) = response.parse(head.as_bytes())
            && !matches!(response.code, Some(100..=199))
        {
            let seen = read(head.as_bytes()).unwrap();
            prop_assert_eq!(Some(seen.status), response.code);
            let expected: Vec<_> = response.headers.iter().map(|field| {
                (field.name.to_string(), String::from_utf8_lossy(field.value).trim_ascii().to_string())
            }).collect();
            prop_assert_eq!(seen.fields, expected);
        }
    }

    #[test]
    fn chunks_come_back(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 0..6)) {
        let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for chunk in &chunks {
            bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
            bytes.extend(chunk);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"0\r\n\r\n");
        prop_assert_eq!(read(&bytes).unwrap().body, chunks.concat());
    }
}
