//! camwire-websocket

use crate::opaque::{any, bytes, changed, formatted, one_of, perhaps, text};
use camwire_websocket::{
    Acceptance, Client, ClientHandshake, ClientRequest, Close, CloseCode, Connection, ControlFrame,
    DecodeError, Decoder, Encoder, Event, Fin, FrameHead, HeadFinder, Kind, Limits, Mask, Refusal,
    Request, Role, Server, ServerHandshake, Uri,
};
use core::{
    fmt::{Debug, Display},
    hint::black_box,
};

pub fn call_all() {
    mask();
    close_codes();
    decoder::<Server>();
    decoder::<Client>();
    encoder::<Server>(|| ());
    encoder::<Client>(key);
    connection::<Server>(|| ());
    connection::<Client>(key);
    server();
    client();
}

pub fn key() -> [u8; 4] {
    any::<u32>().to_le_bytes()
}

pub fn limits() -> Limits {
    one_of([Limits { message_bytes: any() }, <Limits as Default>::default()])
}

pub fn kind() -> Kind {
    one_of([Kind::Text, Kind::Binary])
}

pub fn fin() -> Fin {
    one_of([Fin::More, Fin::Last])
}

pub fn close<'a>() -> Option<Close<'a>> {
    let close = CloseCode::new(any()).map(|code| Close::with_reason(code, text()));
    perhaps(close).flatten()
}

fn mask() {
    let mut mask = Mask::new(key());
    changed(&mut mask);
    Mask::apply(&mut mask, bytes());
    changed(&mut mask);
}

fn close_codes() {
    let Some(code) = CloseCode::new(any()) else { return };
    black_box(CloseCode::get(code));
    formatted(|f| <CloseCode as Debug>::fmt(&code, f));
    formatted(|f| <CloseCode as Display>::fmt(&code, f));
    black_box((Close::new(code), Close::with_reason(code, text())));
}

fn look_at(event: Result<Option<Event<'_>>, DecodeError>) -> bool {
    match event {
        Ok(Some(event)) => {
            if let Event::Close(Some(close)) = event {
                black_box((Close::code(&close), Close::reason(&close)));
            }
            black_box(event);
            true
        }
        Ok(None) => false,
        Err(error) => {
            black_box(DecodeError::close_code(&error));
            formatted(|f| Display::fmt(&error, f));
            false
        }
    }
}

fn decoder<R: Role>() {
    let mut decoder: Decoder<R> = Decoder::new(limits());
    changed(&mut decoder);
    let mut input = bytes();
    while look_at(Decoder::next(&mut decoder, &mut input)) {
        changed(&mut decoder);
    }
    black_box((Decoder::payload_ahead(&decoder), Decoder::offset(&decoder)));
    black_box(Decoder::is_closed(&decoder));
}

fn head(head: &FrameHead) {
    black_box(FrameHead::as_bytes(head));
}

fn control(frame: &ControlFrame) {
    black_box(ControlFrame::as_bytes(frame));
}

fn encoder<R: Role>(key: fn() -> R::Key) {
    let mut encoder: Encoder<R> = Encoder::new();
    changed(&mut encoder);
    match Encoder::message(&mut encoder, kind(), any(), key()) {
        Ok(message) => head(&message),
        Err(error) => formatted(|f| Display::fmt(&error, f)),
    }
    changed(&mut encoder);
    _ = Encoder::fragment(&mut encoder, kind(), any(), fin(), key()).map(|it| head(&it));
    changed(&mut encoder);
    _ = Encoder::ping(&mut encoder, bytes(), key()).map(|it| control(&it));
    changed(&mut encoder);
    _ = Encoder::pong(&mut encoder, bytes(), key()).map(|it| control(&it));
    changed(&mut encoder);
    _ = Encoder::close(&mut encoder, close(), key()).map(|it| control(&it));
    black_box(Encoder::is_closed(&encoder));
    black_box(<Encoder<R> as Default>::default());
}

fn connection<R: Role>(key: fn() -> R::Key) {
    let mut connection: Connection<R> = Connection::new(limits());
    changed(&mut connection);
    let mut input = bytes();
    while look_at(Connection::next(&mut connection, &mut input)) {
        changed(&mut connection);
        if Connection::owes_answer(&connection) {
            Connection::answer(&mut connection, key()).map(|it| control(&it));
        }
        changed(&mut connection);
        black_box((Connection::phase(&connection), Connection::payload_ahead(&connection)));
    }
    _ = Connection::message(&mut connection, kind(), any(), key()).map(|it| head(&it));
    changed(&mut connection);
    _ = Connection::fragment(&mut connection, kind(), any(), fin(), key()).map(|it| head(&it));
    changed(&mut connection);
    _ = Connection::ping(&mut connection, bytes(), key()).map(|it| control(&it));
    changed(&mut connection);
    _ = Connection::close(&mut connection, close(), key()).map(|it| control(&it));
    changed(&mut connection);
}

/// Any number of subprotocols.
fn protocols<'a>() -> &'a [&'a str] {
    let mut one = [text()];
    changed(&mut one);
    // SAFETY: this is never run.
    unsafe { core::slice::from_raw_parts(black_box(one.as_ptr()), any::<usize>() >> 4) }
}

fn server() {
    let mut finder = HeadFinder::new(any());
    changed(&mut finder);
    while let Ok(None) = HeadFinder::push(&mut finder, bytes()) {}

    let mut handshake = ServerHandshake::new(protocols());
    changed(&mut handshake);
    ServerHandshake::request_line(&mut handshake, bytes());
    changed(&mut handshake);
    ServerHandshake::field(&mut handshake, bytes(), bytes());
    changed(&mut handshake);
    black_box(ServerHandshake::is_wanted(&handshake));
    accepted(ServerHandshake::finish(&handshake));

    let Ok(request) = Request::parse(bytes()) else { return };
    let mut request = request;
    changed(&mut request);
    black_box((Request::target(&request), Request::origin(&request), Request::host(&request)));
    black_box(Request::field(&request, text()));
    for field in Request::fields(&request) {
        black_box(field);
    }
    accepted(Request::accept(&request, protocols()));
}

fn accepted(acceptance: Result<Acceptance<'_>, Refusal>) {
    match acceptance {
        Ok(acceptance) => {
            black_box(Acceptance::protocol(&acceptance));
            black_box(Acceptance::response(&acceptance));
        }
        Err(refusal) => {
            black_box((Refusal::status(refusal), Refusal::response(refusal)));
            black_box((Refusal::status_text(refusal), Refusal::fields(refusal)));
            formatted(|f| Display::fmt(&refusal, f));
        }
    }
}

pub fn nonce() -> [u8; 16] {
    any::<u128>().to_le_bytes()
}

pub fn request<'a>() -> ClientRequest<'a> {
    let mut fields = [(text(), text())];
    changed(&mut fields);
    // SAFETY: this is never run.
    let fields =
        unsafe { core::slice::from_raw_parts(black_box(fields.as_ptr()), any::<usize>() >> 5) };
    ClientRequest {
        origin: perhaps(text()),
        protocols: protocols(),
        fields,
        ..ClientRequest::new(text(), text())
    }
}

fn client() {
    match Uri::parse(text()) {
        Ok(uri) => _ = black_box(Uri::request(&uri)),
        Err(error) => formatted(|f| Display::fmt(&error, f)),
    }
    match ClientRequest::write(&request(), nonce(), bytes()) {
        Ok(head) => _ = black_box(head),
        Err(error) => formatted(|f| Display::fmt(&error, f)),
    }
    let mut handshake = ClientHandshake::new(nonce(), protocols());
    changed(&mut handshake);
    ClientHandshake::status_line(&mut handshake, bytes());
    changed(&mut handshake);
    ClientHandshake::field(&mut handshake, bytes(), bytes());
    changed(&mut handshake);
    black_box(ClientHandshake::finish(&handshake).is_ok());
    match ClientHandshake::read(handshake, bytes()) {
        Ok(protocol) => _ = black_box(protocol),
        Err(error) => formatted(|f| Display::fmt(&error, f)),
    }
}
