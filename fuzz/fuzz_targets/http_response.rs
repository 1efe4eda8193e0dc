//! Answers of other servers: whatever comes and however it is cut, the outcome is the same.
#![no_main]

use camwire_server::{BodyKind, HttpResponse, HttpResponseError};
use embassy_futures::block_on;
use embedded_io_async::{ErrorType, Read};
use std::convert::Infallible;

/// Gives pieces of these sizes, over and over.
struct Pieces<'b> {
    rest: &'b [u8],
    sizes: Vec<usize>,
    next: usize,
}

impl ErrorType for Pieces<'_> {
    type Error = Infallible;
}

impl Read for Pieces<'_> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Infallible> {
        assert!(!buf.is_empty(), "an empty read says nothing");
        let size = self.sizes[self.next % self.sizes.len()];
        self.next += 1;
        let (piece, rest) = self.rest.split_at(size.min(buf.len()).min(self.rest.len()));
        buf[..piece.len()].copy_from_slice(piece);
        self.rest = rest;
        Ok(piece.len())
    }
}

type Outcome = (u16, Vec<(Vec<u8>, Vec<u8>)>, BodyKind, Vec<u8>);

fn read(bytes: &[u8], sizes: Vec<usize>) -> Result<Outcome, HttpResponseError<Infallible>> {
    let reader = Pieces { rest: bytes, sizes, next: 0 };
    let mut fields = Vec::new();
    let mut field = |name: &[u8], value: &[u8]| fields.push((name.to_vec(), value.to_vec()));
    block_on(async {
        let mut response = HttpResponse::<_, 200>::open(reader, &mut field).await?;
        let kind = response.kind().await?;
        let (mut body, mut buf) = (Vec::new(), [0; 77]);
        loop {
            match response.read(&mut buf).await? {
                0 => return Ok((response.status(), kind, body)),
                count => body.extend_from_slice(&buf[..count]),
            }
        }
    })
    .map(|(status, kind, body)| (status, fields, kind, body))
}

libfuzzer_sys::fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    let (bytes, sizes) = input;
    let whole = read(&bytes, vec![usize::MAX]);
    let sizes = sizes.iter().map(|&size| usize::from(size) + 1).chain([1]).collect();
    assert_eq!(read(&bytes, sizes), whole);
    if let Ok((status, fields, _, body)) = whole {
        assert!((100..1000).contains(&status) && body.len() <= bytes.len());
        assert!(fields.iter().all(|(name, value)| !name.is_empty() && value.len() < 200));
    }
});
