//! Heads of requests: whatever comes and however it is cut, the outcome is the same.
#![no_main]

use camwire_server::{HEAD_MAX, HeadError, HeadReader, LINE_MAX, Request};

type Outcome = Result<Option<(usize, Vec<u8>)>, HeadError>;

/// Feeds `bytes` in pieces of these sizes, over and over.
fn read(bytes: &[u8], sizes: impl Iterator<Item = usize>) -> Outcome {
    let mut reader = HeadReader::new();
    let (mut rest, mut used) = (bytes, 0);
    for size in sizes {
        let (piece, after) = rest.split_at(size.min(rest.len()));
        if let Some(n) = reader.feed(piece)? {
            return Ok(Some((used + n, reader.request_line().to_vec())));
        }
        (rest, used) = (after, used + piece.len());
        if rest.is_empty() {
            break;
        }
    }
    Ok(None)
}

libfuzzer_sys::fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    let (bytes, sizes) = input;
    let whole = read(&bytes, std::iter::once(usize::MAX));
    let cut = sizes.iter().map(|&n| usize::from(n) + 1).chain(std::iter::repeat(1));
    assert_eq!(read(&bytes, cut), whole);
    match whole {
        Ok(Some((used, line))) => {
            assert!(used <= HEAD_MAX && line.len() <= LINE_MAX && line.ends_with(b"\n"));
            let parsed = Request::parse(&line);
            // Nothing after the line may change what it says.
            assert_eq!(Request::parse(&[&line[..], b"X: y\r\n"].concat()), parsed);
        }
        Ok(None) => assert!(bytes.len() <= HEAD_MAX),
        Err(_) => {}
    }
});
