use crate::surroundings::{AnyConnection, opaque, run};
use camwire_websocket::{
    Client, ClientHandshake, ClientRequest, Close, CloseCode, Connection, Fin, Kind, Limits, Mask,
    Request, Role, Server, ServerHandshake, Uri, WebSocket,
};

/// Everything that a server needs which reads the heads of requests itself.
pub fn serve() {
    let mut handshake = ServerHandshake::new(opaque(&[]));
    handshake.request_line(opaque(&[]));
    while opaque(true) {
        handshake.field(opaque(&[]), opaque(&[]));
    }
    opaque(handshake.is_wanted());
    match handshake.finish() {
        Ok(acceptance) => _ = opaque((acceptance.protocol(), acceptance.response())),
        Err(refusal) => _ = opaque(refusal.response()),
    }
    connection::<Server>(());
}

/// Everything that a client needs.
pub fn connect() {
    let Ok(uri) = Uri::parse(opaque("")) else { return };
    let request = ClientRequest { protocols: opaque(&[]), fields: opaque(&[]), ..uri.request() };
    let _ = opaque(request.write(opaque([0; 16]), opaque(&mut [])));
    let mut handshake = ClientHandshake::new(opaque([0; 16]), opaque(&[]));
    handshake.status_line(opaque(&[]));
    while opaque(true) {
        handshake.field(opaque(&[]), opaque(&[]));
    }
    let _ = opaque(handshake.finish());
    Mask::new(opaque([0; 4])).apply(opaque(&mut []));
    connection::<Client>(opaque([0; 4]));
}

fn connection<R: Role>(key: R::Key) {
    let mut connection = Connection::<R>::new(opaque(Limits::default()));
    let mut input = opaque::<&mut [u8]>(&mut []);
    while let Ok(Some(event)) = connection.next(&mut input) {
        opaque(event);
        if let Some(answer) = connection.answer(key) {
            opaque(answer.as_bytes());
        }
    }
    opaque((connection.phase(), connection.payload_ahead()));
    if let Ok(head) = connection.message(opaque(Kind::Text), opaque(0), key) {
        opaque(head.as_bytes());
    }
    if let Ok(head) = connection.fragment(opaque(Kind::Text), opaque(0), opaque(Fin::Last), key) {
        opaque(head.as_bytes());
    }
    if let Ok(ping) = connection.ping(opaque(&[]), key) {
        opaque(ping.as_bytes());
    }
    let close = opaque(Some(Close::with_reason(CloseCode::NORMAL, opaque(""))));
    if let Ok(close) = connection.close(close, key) {
        opaque(close.as_bytes());
    }
}

/// A server's connection over a reader and a writer.
pub fn socket() {
    run(async {
        let (mut memory, limits) = ([0; 1024], opaque(Limits::default()));
        let (reader, writer, memory) = (AnyConnection, AnyConnection, opaque(&mut memory));
        let check = |_: &Request<'_>| opaque(Ok(()));
        let accepted = WebSocket::accept(reader, writer, memory, limits, &[], check);
        let Ok((mut socket, _)) = accepted.await else { return };
        while let Ok(Some(event)) = socket.receive().await {
            opaque(event);
        }
        let _ = opaque(socket.send(opaque(Kind::Text), opaque(&[])).await);
        let _ = opaque(socket.ping(opaque(&[])).await);
        let _ = opaque(socket.close(opaque(None)).await);
    });
}
