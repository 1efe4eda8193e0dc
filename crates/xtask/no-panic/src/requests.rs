//! What of camwire-server reads what anybody sends. Its request line is read by httparse.

use crate::opaque::{Peer, any, bytes, changed, instant, poll};
use camwire_server::{HeadReader, HttpResponse, Reconnect, Request, RequestLine};
use core::hint::black_box;

pub fn read() {
    let mut line = RequestLine::new();
    let mut head = HeadReader::new(&mut line);
    let mut field = |name: &[u8], value: &[u8]| _ = black_box((name, value));
    while let Ok(None) = HeadReader::feed(&mut head, bytes(), &mut field) {}
    let _ = black_box(Request::parse(RequestLine::as_bytes(&line)));
    response(field);
}

fn response(field: impl FnMut(&[u8], &[u8])) {
    let Ok(mut response) = poll(HttpResponse::<Peer, 512>::open(Peer, field)) else { return };
    changed(&mut response);
    black_box(poll(HttpResponse::kind(&mut response)).is_ok());
    black_box(HttpResponse::status(&response));
    changed(&mut response);
    let read = <HttpResponse<_, 512> as embedded_io_async::Read>::read(&mut response, bytes());
    black_box(poll(read).is_ok());

    let mut reconnect = Reconnect::new();
    changed(&mut reconnect);
    Reconnect::opened(&mut reconnect, instant());
    Reconnect::closed(&mut reconnect, instant(), any::<u8>() != 0);
    black_box(Reconnect::due(&reconnect));
}
