//! Any bytes as a stream of pictures: the pieces are the same however the stream is cut, and each
//! whole picture is one to the other reader, too.
#![no_main]

use camwire_frame::jpeg::{self, JpegError, Picture, Piece, Splitter};

#[derive(Debug, PartialEq)]
enum Found {
    Whole(Picture, Vec<u8>),
    Broken(JpegError),
}

fn split<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Found> {
    let (mut splitter, mut found, mut data) = (Splitter::new(), Vec::new(), Vec::new());
    for mut input in pieces {
        while let Some(piece) = splitter.next(&mut input) {
            match piece {
                Piece::Data(bytes) => {
                    assert!(!bytes.is_empty());
                    data.extend_from_slice(bytes);
                }
                Piece::End(picture) => found.push(Found::Whole(picture, std::mem::take(&mut data))),
                Piece::Broken(error) => {
                    found.push(Found::Broken(error));
                    data.clear();
                }
            }
        }
        assert!(input.is_empty());
    }
    found
}

libfuzzer_sys::fuzz_target!(|input: (Vec<u8>, u8)| {
    let (bytes, size) = input;
    let whole = split(std::iter::once(&bytes[..]));
    assert_eq!(split(bytes.chunks(usize::from(size) + 1)), whole);
    for found in &whole {
        if let Found::Whole(picture, data) = found {
            assert_eq!(jpeg::inspect(data).as_ref(), Ok(picture));
            assert_eq!(picture.len, data.len());
        }
    }
    let _ = jpeg::inspect(&bytes);
});
