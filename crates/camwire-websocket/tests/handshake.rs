//! The opening handshake, RFC 6455, section 4.

use camwire_websocket::{
    Acceptance, ClientHandshake, ClientRequest, HeadFinder, Refusal, Request, RequestError,
    ResponseError, ServerHandshake, Uri,
};
use proptest::prelude::*;

/// The request of section 1.3, with other lines in place of some.
fn request(changes: &[(&str, &str)]) -> String {
    let mut fields = vec![
        ("", "GET /chat HTTP/1.1"),
        ("Host", "server.example.com"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Origin", "http://example.com"),
        ("Sec-WebSocket-Protocol", "chat, superchat"),
        ("Sec-WebSocket-Version", "13"),
    ];
    for &(name, value) in changes {
        match name.strip_prefix('+') {
            Some(name) => fields.push((name, value)),
            None => {
                let field = fields.iter_mut().find(|(n, _)| *n == name).expect("a field");
                *field = (name, value);
            }
        }
    }
    let mut head = String::new();
    for (name, value) in fields {
        match (name, value) {
            ("", line) => head += &format!("{line}\r\n"),
            (_, "-") => {}
            (name, value) => head += &format!("{name}: {value}\r\n"),
        }
    }
    head + "\r\n"
}

/// What a server says, fed with the head as a whole and line by line.
fn answer(head: &str) -> Result<Acceptance<'static>, Refusal> {
    const PROTOCOLS: &[&str] = &["superchat", "chat"];
    let whole = Request::parse(head.as_bytes()).and_then(|request| request.accept(PROTOCOLS));
    let mut lines = head.lines();
    let mut handshake = ServerHandshake::new(PROTOCOLS);
    handshake.request_line(lines.next().unwrap_or_default().as_bytes());
    let fields: Option<Vec<_>> =
        lines.take_while(|line| !line.is_empty()).map(|line| line.split_once(':')).collect();
    if let Some(fields) = fields {
        for (name, value) in fields {
            handshake.field(name.as_bytes(), value.as_bytes());
        }
        // Whether a line is a field is for its reader to find out.
        if whole != Err(Refusal::Malformed) {
            assert_eq!(handshake.finish(), whole, "{head}");
        }
    }
    whole
}

fn refused(changes: &[(&str, &str)]) -> (Refusal, u16) {
    let refusal = answer(&request(changes)).expect_err("refused");
    let response = String::from_utf8(refusal.response().concat()).unwrap();
    assert!(response.starts_with(&format!("HTTP/1.1 {} ", refusal.status())), "{response}");
    assert!(response.starts_with(&format!("HTTP/1.1 {}\r\n", refusal.status_text())), "{response}");
    assert!(response.contains(refusal.fields()), "{response}");
    // `Upgrade` is an option of the connection (RFC 9110, section 7.8).
    let upgrade = if refusal.status() == 426 { "Upgrade, " } else { "" };
    assert!(response.ends_with(&format!("\r\nConnection: {upgrade}close\r\n\r\n")), "{response}");
    assert_eq!(response.matches("Connection: ").count(), 1, "{response}");
    assert_eq!(response.matches("\r\n\r\n").count(), 1, "{response}");
    assert!(response.contains("Content-Length: 0\r\n"), "{response}");
    (refusal, refusal.status())
}

#[test]
fn the_example_of_the_specification() {
    let head = request(&[]);
    let request = Request::parse(head.as_bytes()).unwrap();
    assert_eq!(request.target(), "/chat");
    assert_eq!(request.host(), Some(&b"server.example.com"[..]));
    assert_eq!(request.origin(), Some(&b"http://example.com"[..]));
    assert_eq!(request.field("UPGRADE"), Some(&b"websocket"[..]));
    assert_eq!(request.fields().count(), 7);
    let acceptance = answer(&head).unwrap();
    assert_eq!(acceptance.protocol(), Some("chat"), "the client's first choice");
    let response = String::from_utf8(acceptance.response().concat()).unwrap();
    assert_eq!(
        response,
        "HTTP/1.1 101 Switching Protocols\r\n\
         Upgrade: websocket\r\n\
         Connection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
         Sec-WebSocket-Protocol: chat\r\n\
         \r\n"
    );
}

#[test]
fn what_is_let_in() {
    for changes in [
        &[("Upgrade", "h2c, WebSocket"), ("Connection", "keep-alive , UPGRADE")][..],
        &[("Upgrade", "h2c"), ("+upgrade", "websocket")],
        &[("Connection", "keep-alive"), ("+CONNECTION", "upgrade")],
        &[("+Cookie", "a=b"), ("Origin", "-")],
        &[("", "GET http://server.example.com/chat HTTP/1.1")],
        &[("", "GET /?a=b&c=%20 HTTP/1.1")],
        &[("+Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")],
        &[("+Sec-WebSocket-Something", "new"), ("+X", "\u{fc}")],
        &[("+Content-Length", "0")],
    ] {
        let head = request(changes);
        assert!(answer(&head).is_ok(), "{head}");
        assert!(answer(&head.replace("\r\n", "\n")).is_ok(), "bare line feeds: {head}");
        assert!(answer(&head.replace(": ", ":")).is_ok(), "without spaces: {head}");
        assert!(answer(&head.replace(": ", ":\t ")).is_ok(), "with other spaces: {head}");
    }
}

#[test]
fn subprotocols() {
    let chosen = |value| answer(&request(&[("Sec-WebSocket-Protocol", value)])).unwrap().protocol();
    assert_eq!(chosen("-"), None);
    assert_eq!(chosen("mqtt"), None);
    assert_eq!(chosen("mqtt,superchat , chat"), Some("superchat"));
    assert_eq!(chosen("Chat"), None, "case matters");
    let two = request(&[("Sec-WebSocket-Protocol", "mqtt"), ("+Sec-WebSocket-Protocol", "chat")]);
    assert_eq!(answer(&two).unwrap().protocol(), Some("chat"));
    let none = request(&[("Sec-WebSocket-Protocol", "mqtt")]);
    let response = answer(&none).unwrap().response().concat();
    assert!(response.ends_with(b"xOo=\r\n\r\n"));
}

#[test]
fn what_is_refused() {
    // The request line.
    for line in [
        "GET /chat HTTP/1.0",
        "GET /chat HTTP/2.0",
        "GET /chat HTTP/1.10",
        "GET /chat http/1.1",
        "GET /chat",
        "GET  /chat HTTP/1.1",
        "GET /chat HTTP/1.1 x",
        "GET /chat#there HTTP/1.1",
        "GET /ch\u{e4}t HTTP/1.1",
        "G\u{e4}T /chat HTTP/1.1",
        " GET /chat HTTP/1.1",
    ] {
        assert_eq!(refused(&[("", line)]), (Refusal::Malformed, 400), "{line}");
    }
    for method in ["POST", "HEAD", "get", "CONNECT"] {
        let line = format!("{method} /chat HTTP/1.1");
        assert_eq!(refused(&[("", &line)]), (Refusal::Method, 405));
    }
    // Lines that are no fields.
    for head in [
        request(&[]).replace("Host:", "Host :"),
        request(&[]).replace("Origin:", " Origin:"),
        request(&[("+X", "a\0b")]),
        request(&[("+X", "a\rb")]),
        request(&[]).replace("Origin", "Or\u{ed}gin"),
        request(&[]).replace("Origin: ", ""),
        request(&[]).replace("Origin: ", ": "),
    ] {
        assert_eq!(answer(&head.replace("http://example.com", "x")), Err(Refusal::Malformed));
    }
    assert_eq!(answer(""), Err(Refusal::Malformed));
    assert_eq!(answer("\r\n\r\n"), Err(Refusal::Malformed));

    for host in ["-", "", "a b", "\u{e4}"] {
        assert_eq!(refused(&[("Host", host)]), (Refusal::Host, 400), "{host}");
    }
    assert_eq!(refused(&[("+host", "server.example.com")]), (Refusal::Host, 400));
    for upgrade in ["-", "", "h2c", "websockets", "web socket", "websocket/13"] {
        assert_eq!(refused(&[("Upgrade", upgrade)]), (Refusal::NoUpgrade, 426), "{upgrade}");
    }
    for connection in ["-", "", "close", "keep-alive", "upgraded", "keep-alive Upgrade"] {
        let refused = refused(&[("Connection", connection)]);
        assert_eq!(refused, (Refusal::Connection, 400), "{connection}");
    }
    for version in ["-", "", "8", "013", "13, 8", "14", "thirteen"] {
        let refused = refused(&[("Sec-WebSocket-Version", version)]);
        assert_eq!(refused, (Refusal::Version, 426), "{version}");
    }
    let response = Refusal::Version.response().concat();
    assert!(String::from_utf8(response).unwrap().contains("\r\nSec-WebSocket-Version: 13\r\n"));
    let two = refused(&[("+Sec-WebSocket-Version", "13")]);
    assert_eq!(two, (Refusal::TwoVersions, 400));
    for key in [
        "-",
        "",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25jZQ===",
        "dGhlIHNhbXBsZSBub25jZSE=",
        "dGhlIHNhbXBsZSBub25jZSE",
        "dGhlIHNhbXBsZSBub25jZSEh",
        "dGhlIHNhbXBsZ-Bub25jZQ==",
        "dGhlIHNhbXBsZ Bub25jZQ==",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ] {
        assert_eq!(refused(&[("Sec-WebSocket-Key", key)]), (Refusal::Key, 400), "{key}");
    }
    let two = refused(&[("+Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")]);
    assert_eq!(two, (Refusal::Key, 400));
    for protocols in ["", ",", "a b", "a, b;c", "\"chat\"", "ch\u{e4}t"] {
        let refused = refused(&[("Sec-WebSocket-Protocol", protocols)]);
        assert_eq!(refused, (Refusal::Protocol, 400), "{protocols}");
    }
    for extensions in ["", ",", "a b", "a;b=\"c d\"", "a;;b"] {
        let refused = refused(&[("+Sec-WebSocket-Extensions", extensions)]);
        assert_eq!(refused, (Refusal::Extensions, 400), "{extensions}");
    }
    for length in ["5", "", "-1", "0x0"] {
        assert_eq!(refused(&[("+Content-Length", length)]), (Refusal::Body, 400), "{length}");
    }
    assert_eq!(refused(&[("+Transfer-Encoding", "chunked")]), (Refusal::Body, 400));
    for (refusal, status) in
        [(Refusal::HeadTooLong, 431), (Refusal::Forbidden, 403), (Refusal::NotFound, 404)]
    {
        assert_eq!(refusal.status(), status);
    }
}

const NONCE: [u8; 16] = *b"the sample nonce";

fn response(changes: &[(&str, &str)]) -> String {
    let mut fields = vec![
        ("", "HTTP/1.1 101 Switching Protocols"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ("Sec-WebSocket-Protocol", "chat"),
    ];
    for &(name, value) in changes {
        match name.strip_prefix('+') {
            Some(name) => fields.push((name, value)),
            None => {
                let field = fields.iter_mut().find(|(n, _)| *n == name).expect("a field");
                *field = (name, value);
            }
        }
    }
    let line = |(name, value): &(&str, &str)| match (*name, *value) {
        ("", line) => format!("{line}\r\n"),
        (_, "-") => String::new(),
        (name, value) => format!("{name}: {value}\r\n"),
    };
    fields.iter().map(line).collect::<String>() + "\r\n"
}

fn read(changes: &[(&str, &str)]) -> Result<Option<&'static str>, ResponseError> {
    let handshake = ClientHandshake::new(NONCE, &["superchat", "chat"]);
    let head = response(changes);
    let whole = handshake.clone().read(head.as_bytes());
    let mut by_line = handshake;
    let mut lines = head.lines();
    by_line.status_line(lines.next().unwrap().as_bytes());
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        by_line.field(name.as_bytes(), value.as_bytes());
    }
    if whole != Err(ResponseError::Malformed) {
        assert_eq!(by_line.finish(), whole);
    }
    whole
}

#[test]
fn responses() {
    assert_eq!(read(&[]), Ok(Some("chat")));
    assert_eq!(read(&[("Sec-WebSocket-Protocol", "-")]), Ok(None));
    assert_eq!(read(&[("", "HTTP/1.1 101")]), Ok(Some("chat")));
    let other_case = [("Upgrade", "WebSocket"), ("Connection", "keep-alive, upgrade")];
    assert_eq!(read(&other_case), Ok(Some("chat")));
    for (line, status) in [
        ("HTTP/1.1 200 OK", 200),
        ("HTTP/1.1 401", 401),
        ("HTTP/1.0 404 ", 404),
        ("HTTP/1.1 302 Found", 302),
    ] {
        assert_eq!(read(&[("", line)]), Err(ResponseError::Status { status }));
    }
    for line in
        ["HTTP/1.0 101 x", "HTTP/2 101", "HTTP/1.1 1O1 x", "HTTP/1.1 1011", "HTTP/1.x 101 x", "101"]
    {
        assert_eq!(read(&[("", line)]), Err(ResponseError::Malformed), "{line}");
    }
    assert_eq!(read(&[("+no field", "x")]), Err(ResponseError::Malformed));
    for upgrade in ["-", "", "h2c", "websocket, h2c"] {
        assert_eq!(read(&[("Upgrade", upgrade)]), Err(ResponseError::Upgrade), "{upgrade}");
    }
    assert_eq!(read(&[("+Upgrade", "h2c")]), Err(ResponseError::Upgrade));
    for connection in ["-", "close", "upgraded"] {
        let error = read(&[("Connection", connection)]);
        assert_eq!(error, Err(ResponseError::Connection), "{connection}");
    }
    for accept in [
        "-",
        "",
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo",
        "S3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        "dGhlIHNhbXBsZSBub25jZQ==",
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo= x",
    ] {
        let error = read(&[("Sec-WebSocket-Accept", accept)]);
        assert_eq!(error, Err(ResponseError::Accept), "{accept}");
    }
    let two = read(&[("+Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")]);
    assert_eq!(two, Err(ResponseError::Accept));
    for protocol in ["", "mqtt", "Chat", "chat, superchat"] {
        let error = read(&[("Sec-WebSocket-Protocol", protocol)]);
        assert_eq!(error, Err(ResponseError::Protocol), "{protocol}");
    }
    let two = read(&[("+Sec-WebSocket-Protocol", "chat")]);
    assert_eq!(two, Err(ResponseError::Protocol));
    for extension in ["permessage-deflate", ""] {
        let error = read(&[("+Sec-WebSocket-Extensions", extension)]);
        assert_eq!(error, Err(ResponseError::Extension));
    }
}

#[test]
fn requests_of_a_client() {
    let uri = Uri::parse("ws://relay.example:81?camera=3").unwrap();
    let fields = [("Authorization", "Bearer T")];
    let request = ClientRequest {
        origin: Some("http://page.example"),
        protocols: &["superchat", "chat"],
        fields: &fields,
        ..uri.request()
    };
    let mut memory = [0; 512];
    let head = request.write(NONCE, &mut memory).unwrap();
    assert_eq!(
        str::from_utf8(head),
        Ok("GET /?camera=3 HTTP/1.1\r\n\
            Host: relay.example:81\r\n\
            Upgrade: websocket\r\n\
            Connection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
            Sec-WebSocket-Version: 13\r\n\
            Origin: http://page.example\r\n\
            Sec-WebSocket-Protocol: superchat, chat\r\n\
            Authorization: Bearer T\r\n\
            \r\n")
    );
    let size = head.len();
    assert!(request.write(NONCE, &mut memory[..size]).is_ok());
    assert_eq!(request.write(NONCE, &mut memory[..size - 1]), Err(RequestError::TooLong));
    assert_eq!(request.write(NONCE, &mut []), Err(RequestError::TooLong));

    let mut error = |request: ClientRequest<'_>| request.write(NONCE, &mut memory).err();
    for host in ["", "a b", "a\r\nX: y", "\u{e4}"] {
        assert_eq!(error(ClientRequest::new(host, "/")), Some(RequestError::Host));
    }
    for target in ["/a b", "a", "/\r\n", "/#a", "/\u{e4}", "*"] {
        let request = ClientRequest::new("a", target);
        assert_eq!(error(request), Some(RequestError::Target), "{target}");
    }
    for protocol in ["", "a b", "a,b", "a\r\nb"] {
        let protocols = [protocol];
        let request = ClientRequest { protocols: &protocols, ..ClientRequest::new("a", "/") };
        assert_eq!(error(request), Some(RequestError::Protocol));
    }
    for field in [("", "x"), ("a b", "x"), ("a", "x\r\ny"), ("a:", "x"), ("a", "x\0")] {
        let fields = [field];
        let request = ClientRequest { fields: &fields, ..ClientRequest::new("a", "/") };
        assert_eq!(error(request), Some(RequestError::Field));
    }
    let request = ClientRequest { origin: Some("x\ny"), ..ClientRequest::new("a", "/") };
    assert_eq!(error(request), Some(RequestError::Field));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// A client and a server of this crate understand each other, and tungstenite both.
    #[test]
    fn both_ends_agree(nonce: [u8; 16], path in "/[!-\"$-~]{0,20}") {
        let request = ClientRequest { protocols: &["b", "a"], ..ClientRequest::new("a", &path) };
        let mut memory = [0; 512];
        let head = request.write(nonce, &mut memory).unwrap();
        let parsed = Request::parse(head).unwrap();
        prop_assert_eq!(parsed.target(), &path);
        let acceptance = parsed.accept(&["a", "b"]).unwrap();
        let response = acceptance.response().concat();
        let handshake = ClientHandshake::new(nonce, request.protocols);
        prop_assert_eq!(handshake.read(&response), Ok(Some("b")));

        let theirs = tungstenite::handshake::server::create_response(&{
            let mut theirs = tungstenite::http::Request::builder();
            for (name, value) in parsed.fields() {
                theirs = theirs.header(name, value);
            }
            theirs.body(()).unwrap()
        }).unwrap();
        let field = |name| theirs.headers().get(name).unwrap().to_str().unwrap();
        let head = format!(
            "HTTP/1.1 {}\r\nUpgrade: {}\r\nConnection: {}\r\nSec-WebSocket-Accept: {}\r\n\r\n",
            theirs.status(), field("upgrade"), field("connection"), field("sec-websocket-accept"),
        );
        prop_assert_eq!(ClientHandshake::new(nonce, &[]).read(head.as_bytes()), Ok(None));
    }

    #[test]
    fn any_head(
        lines in proptest::collection::vec("(Host|Upgrade|Connection|Sec-WebSocket-(Key|Version|Protocol|Extensions)|[ -~]{0,5}): [ -~]{0,30}", 0..6),
        junk in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut head = format!("GET / HTTP/1.1\r\n{}", lines.join("\r\n")).into_bytes();
        head.extend(junk);
        if let Ok(request) = Request::parse(&head) {
            let _ = request.accept(&["a"]);
        }
        let _ = ClientHandshake::new(NONCE, &[]).read(&head);
        let _ = Uri::parse(&String::from_utf8_lossy(&head));
        let whole = HeadFinder::new(100).push(&head);
        let mut finder = HeadFinder::new(100);
        let mut found = Ok(None);
        for (at, byte) in head.iter().enumerate() {
            match finder.push(&[*byte]) {
                Ok(None) => {}
                Ok(Some(_)) => { found = Ok(Some(at + 1)); break; }
                Err(error) => { found = Err(error); break; }
            }
        }
        prop_assert_eq!(found, whole);
    }
}
