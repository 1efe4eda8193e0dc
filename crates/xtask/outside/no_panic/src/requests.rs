//! What of camwire-server reads what anybody sends. Its request line is read by httparse.

use crate::opaque::bytes;
use camwire_server::{HeadReader, Request};
use core::hint::black_box;

pub fn read() {
    let mut head = HeadReader::new();
    while let Ok(None) = HeadReader::feed(&mut head, bytes()) {}
    let _ = black_box(Request::parse(HeadReader::request_line(&head)));
}
