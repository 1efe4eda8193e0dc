//! Any head, for both roles: as a whole, line by line, and with its end found at any cut. And what
//! a client is told to ask for is never another request than that.
#![no_main]

use arbitrary::Arbitrary;
use camwire_websocket::{
    ClientHandshake, ClientRequest, HeadFinder, Refusal, Request, ResponseError, ServerHandshake,
    Uri,
};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    nonce: [u8; 16],
    limit: u8,
    /// Lines that are right, by number, so that the others get a chance.
    lines: Vec<u8>,
    cut: u8,
    head: &'a [u8],
    uri: &'a str,
    origin: Option<&'a str>,
    protocol: &'a str,
    field: (&'a str, &'a str),
}

const LINES: [&[u8]; 10] = [
    b"GET /ws HTTP/1.1",
    b"Host: a",
    b"Upgrade: websocket",
    b"Connection: keep-alive, Upgrade",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"Sec-WebSocket-Protocol: a, b",
    b"Sec-WebSocket-Extensions: a; b=\"c\"",
    b"HTTP/1.1 101 Switching Protocols",
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
];

fuzz_target!(|input: Input<'_>| {
    let mut head = Vec::new();
    for line in &input.lines {
        head.extend_from_slice(LINES[usize::from(*line) % LINES.len()]);
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(input.head);
    finder(&head, input.limit.into(), input.cut.into());
    read(&head, input.nonce);
    ask(&input);
});

fn finder(head: &[u8], limit: usize, cut: usize) {
    let whole = HeadFinder::new(limit).push(head);
    let (a, b) = head.split_at(cut.min(head.len()));
    let mut finder = HeadFinder::new(limit);
    let cut = match finder.push(a) {
        Ok(None) => finder.push(b).map(|end| end.map(|end| end + a.len())),
        other => other,
    };
    assert_eq!(cut, whole);
}

fn read(head: &[u8], nonce: [u8; 16]) {
    const PROTOCOLS: &[&str] = &["b", "a"];
    let whole = Request::parse(head).and_then(|request| request.accept(PROTOCOLS));
    let mut server = ServerHandshake::new(PROTOCOLS);
    let mut client = ClientHandshake::new(nonce, PROTOCOLS);
    let response = client.clone().read(head);

    // Empty lines before the first one do not count.
    let mut lines =
        head.split(|byte| *byte == b'\n').skip_while(|line| line.iter().all(|byte| *byte == b'\r'));
    let first = lines.next().unwrap_or_default();
    let first: &[u8] = match first.iter().position(|byte| *byte != b'\r') {
        Some(start) => &first[start..],
        None => &[],
    };
    server.request_line(first);
    client.status_line(first);
    for line in lines {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        // What is no field is for its reader to find out.
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return };
        server.field(&line[..colon], &line[colon + 1..]);
        client.field(&line[..colon], &line[colon + 1..]);
    }
    if whole != Err(Refusal::Malformed) {
        assert_eq!(server.finish(), whole);
    }
    if response != Err(ResponseError::Malformed) {
        assert_eq!(client.finish(), response);
    }
}

fn ask(input: &Input<'_>) {
    let _ = Uri::parse(input.uri);
    let uri = format!("ws://{}", input.uri);
    let Ok(uri) = Uri::parse(&uri) else { return };
    assert!(uri.authority.contains(uri.host) && uri.port > 0);
    let (protocols, fields) = ([input.protocol], [input.field]);
    let request = ClientRequest {
        origin: input.origin,
        protocols: if input.protocol.is_empty() { &[] } else { &protocols },
        fields: &fields,
        ..uri.request()
    };
    let mut memory = [0; 1024];
    let Ok(head) = request.write(input.nonce, &mut memory) else { return };
    assert_eq!(HeadFinder::new(1024).push(head), Ok(Some(head.len())));
    let parsed = Request::parse(head).expect("a request");
    assert_eq!(parsed.host(), Some(uri.authority.as_bytes()));
    assert!(parsed.target().ends_with(uri.target));
    let optional = usize::from(input.origin.is_some()) + usize::from(!input.protocol.is_empty());
    assert_eq!(parsed.fields().count(), 6 + optional);
    assert_eq!(parsed.fields().last().map(|(name, _)| name), Some(input.field.0.as_bytes()));
}
