//! Heads of requests: whatever comes and however it is cut, the outcome is the same.
#![no_main]

use camwire_server::{HEAD_MAX, HeadError, HeadReader, LINE_MAX, Request, RequestLine};

type Field = (Vec<u8>, Vec<u8>);

/// How many bytes were used, the request line, and the fields.
type Outcome = Result<Option<(usize, Vec<u8>, Vec<Field>)>, HeadError>;

/// Feeds `bytes` in pieces of these sizes, over and over.
fn read(bytes: &[u8], sizes: impl Iterator<Item = usize>) -> Outcome {
    let mut line = RequestLine::new();
    let mut reader = HeadReader::new(&mut line);
    let mut fields = Vec::<Field>::new();
    let (mut rest, mut used) = (bytes, 0);
    for size in sizes {
        let (piece, after) = rest.split_at(size.min(rest.len()));
        let mut field = |name: &[u8], value: &[u8]| fields.push((name.to_vec(), value.to_vec()));
        if let Some(n) = reader.feed(piece, &mut field)? {
            return Ok(Some((used + n, line.as_bytes().to_vec(), fields)));
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
        Ok(Some((used, line, fields))) => {
            assert!(used <= HEAD_MAX && line.len() <= LINE_MAX && line.ends_with(b"\n"));
            assert!(fields.iter().all(|(name, value)| name.len() + value.len() < LINE_MAX));
            let parsed = Request::parse(&line);
            // Nothing after the line may change what it says.
            assert_eq!(Request::parse(&[&line[..], b"X: y\r\n"].concat()), parsed);
        }
        Ok(None) => assert!(bytes.len() <= HEAD_MAX),
        Err(_) => {}
    }
});
