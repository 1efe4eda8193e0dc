//! What of camwire-server reads what anybody sends. Its request line is read by httparse.

use crate::opaque::bytes;
use camwire_server::{HeadReader, Request, RequestLine};
use core::hint::black_box;

pub fn read() {
    let mut line = RequestLine::new();
    let mut head = HeadReader::new(&mut line);
    let mut field = |name: &[u8], value: &[u8]| _ = black_box((name, value));
    while let Ok(None) = HeadReader::feed(&mut head, bytes(), &mut field) {}
    let _ = black_box(Request::parse(RequestLine::as_bytes(&line)));
}
