//! JPEG structure: pictures composed by hand, hostile ones, and every way to cut them, against
//! a naive reference.

use camwire_frame::jpeg::{JpegError, Picture, Piece, Scanner, Splitter, inspect};
use proptest::prelude::*;

const SOI: &[u8] = b"\xFF\xD8";
const EOI: &[u8] = b"\xFF\xD9";

/// A marker segment with its length.
fn segment(marker: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len() + 2).unwrap().to_be_bytes();
    [&[0xFF, marker][..], &length, payload].concat()
}

/// An SOF of one component.
fn sof(marker: u8, width: u16, height: u16) -> Vec<u8> {
    let (w, h) = (width.to_be_bytes(), height.to_be_bytes());
    segment(marker, &[8, h[0], h[1], w[0], w[1], 1, 1, 0x11, 0])
}

/// A scan of one component, with entropy-coded data.
fn scan(data: &[u8]) -> Vec<u8> {
    [&segment(0xDA, &[1, 1, 0, 0, 63, 0])[..], data].concat()
}

fn jpeg(parts: &[&[u8]]) -> Vec<u8> {
    [SOI, &parts.concat(), EOI].concat()
}

/// JFIF, tables, and a scan with stuffed bytes and restart markers.
fn like_a_cameras(entropy: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    for (interval, bytes) in entropy.chunks(300).enumerate() {
        if interval > 0 {
            data.extend([0xFF, 0xD0 | ((interval as u8 - 1) % 8)]);
        }
        for &byte in bytes {
            data.push(byte);
            if byte == 0xFF {
                data.push(0);
            }
        }
    }
    let tables =
        [segment(0xDB, &[1; 65]), segment(0xC4, &[2; 31]), segment(0xDD, &[0, 4])].concat();
    jpeg(&[
        &segment(0xE0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0"),
        &tables,
        &sof(0xC0, 96, 96),
        &scan(&data),
    ])
}

/// The same rules as the crate's, with the whole input at hand and no thought for speed.
fn naive(bytes: &[u8]) -> Result<Picture, JpegError> {
    if !bytes.starts_with(b"\xFF\xD8") {
        return Err(JpegError::NotJpeg);
    }
    let (mut at, mut size, mut scan) = (2, None, false);
    if bytes.get(at).is_some_and(|&byte| byte != 0xFF) {
        return Err(JpegError::NotJpeg);
    }
    loop {
        let cut = JpegError::Truncated { size };
        while *bytes.get(at).ok_or(cut)? != 0xFF {
            at += 1;
        }
        while *bytes.get(at).ok_or(cut)? == 0xFF {
            at += 1;
        }
        let marker = bytes[at];
        match marker {
            0x00 | 0x01 | 0xD0..=0xD7 => at += 1,
            0xD8 => return Err(cut),
            0xD9 => {
                let (width, height) = size.ok_or(JpegError::NoFrameHeader)?;
                return match scan {
                    true => Ok(Picture { width, height, len: at + 1 }),
                    false => Err(JpegError::NoScan),
                };
            }
            0x02..=0xBF => return Err(JpegError::ReservedMarker { marker, at }),
            _ => {
                if marker == 0xDA && size.is_none() {
                    return Err(JpegError::NoFrameHeader);
                }
                scan |= marker == 0xDA;
                let high = *bytes.get(at + 1).ok_or(cut)?;
                let low = *bytes.get(at + 2).ok_or(cut)?;
                let length = u16::from_be_bytes([high, low]);
                let is_sof = matches!(marker, 0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF)
                    && size.is_none();
                if length < if is_sof { 11 } else { 2 } {
                    return Err(JpegError::BadLength { length, at: at + 2 });
                }
                if is_sof {
                    let number = |at: usize| {
                        Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
                    };
                    let height = number(at + 4).ok_or(cut)?;
                    let width = number(at + 6).ok_or(cut)?;
                    if width == 0 || height == 0 {
                        return Err(JpegError::ZeroSize { width, height });
                    }
                    size = Some((width, height));
                }
                at += 1 + usize::from(length);
            }
        }
    }
}

/// All at once, one byte at a time, and cut in two at every place: always the same as naively.
fn check(bytes: &[u8]) -> Result<Picture, JpegError> {
    let expected = naive(bytes);
    assert_eq!(inspect(bytes), expected);
    let mut pieces: Vec<Vec<&[u8]>> = vec![bytes.chunks(1).collect()];
    let places = bytes.len().min(600);
    pieces.extend((0..=places).map(|at| vec![&bytes[..at], &bytes[at..]]));
    for pieces in pieces {
        assert_eq!(in_pieces(pieces), expected);
    }
    split_everywhere(bytes);
    expected
}

fn in_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Picture, JpegError> {
    let mut scanner = Scanner::new();
    for piece in pieces {
        if let Some(picture) = scanner.push(piece)? {
            return Ok(picture);
        }
    }
    // An empty input is nothing to be cut.
    Err(scanner.finish().err().unwrap_or(JpegError::NotJpeg))
}

type Parts = Vec<(Vec<u8>, Result<Picture, JpegError>)>;

/// All pictures of a stream with what the splitter says of them.
fn split<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Parts {
    let mut splitter = Splitter::new();
    let (mut parts, mut data) = (Parts::new(), Vec::new());
    for mut input in pieces {
        while let Some(piece) = splitter.next(&mut input) {
            match piece {
                Piece::Data(bytes) => {
                    assert!(!bytes.is_empty());
                    data.extend_from_slice(bytes);
                }
                Piece::End(picture) => {
                    assert_eq!(picture.len, data.len());
                    parts.push((std::mem::take(&mut data), Ok(picture)));
                }
                Piece::Broken(error) => parts.push((std::mem::take(&mut data), Err(error))),
            }
        }
        assert!(input.is_empty());
    }
    match splitter.finish() {
        Ok(()) => assert!(data.is_empty()),
        Err(error) => parts.push((data, Err(error))),
    }
    assert_eq!(splitter.finish(), Ok(()));
    parts
}

/// Splits a stream, in one go and cut in every way; what is whole is so to `inspect` as well.
fn split_everywhere(bytes: &[u8]) -> Parts {
    let expected = split([bytes]);
    for (data, result) in &expected {
        if let Ok(picture) = result {
            assert_eq!(inspect(data), Ok(*picture));
        }
    }
    assert_eq!(split(bytes.chunks(1)), expected);
    for at in 0..=bytes.len().min(600) {
        assert_eq!(split([&bytes[..at], &bytes[at..]]), expected);
    }
    expected
}

#[test]
fn a_plain_picture() {
    let bytes = jpeg(&[&sof(0xC0, 640, 480), &scan(b"\x12\x34\xFF\x00\x56")]);
    let picture = Picture { width: 640, height: 480, len: bytes.len() };
    assert_eq!(check(&bytes), Ok(picture));
}

#[test]
fn padding_and_garbage_after_the_end_do_not_belong_to_it() {
    let bytes = jpeg(&[&sof(0xC0, 8, 16), &scan(b"abc")]);
    let picture = Picture { width: 8, height: 16, len: bytes.len() };
    for rest in [&[0; 64][..], b"\xFF", b"\xFF\xD9", b"\xFF\xD9\xFF\xD9", b"garbage", b"\xFF\xD8"] {
        assert_eq!(check(&[&bytes, rest].concat()), Ok(picture));
    }
}

#[test]
fn every_kind_of_frame_has_a_size() {
    for marker in 0xC0..=0xCF {
        let bytes = jpeg(&[&sof(marker, 300, 200), &scan(b"x")]);
        let result = check(&bytes);
        if [0xC4, 0xC8, 0xCC].contains(&marker) {
            assert_eq!(result, Err(JpegError::NoFrameHeader), "{marker:#x}");
        } else {
            assert_eq!(result, Ok(Picture { width: 300, height: 200, len: bytes.len() }));
        }
    }
}

#[test]
fn a_thumbnail_is_not_entered() {
    let thumbnail = jpeg(&[&sof(0xC0, 160, 120), &scan(b"small\xFF\x00")]);
    let exif = segment(0xE1, &[b"Exif\0\0", &thumbnail[..], b"\xFF\xD9\xFF\xD8"].concat());
    let bytes = jpeg(&[&exif, &segment(0xDB, &[0xFF; 65]), &sof(0xC0, 1600, 1200), &scan(b"big")]);
    let picture = Picture { width: 1600, height: 1200, len: bytes.len() };
    assert_eq!(check(&bytes), Ok(picture));
}

#[test]
fn fill_bytes_and_restarts_and_stuffing() {
    let bytes = jpeg(&[
        b"\xFF\xFF",
        &segment(0xE0, b"JFIF\0"),
        b"\xFF\xFF\xFF",
        &segment(0xDD, &[0, 4]),
        &sof(0xC0, 16, 16),
        &scan(b"\xFF\x00\xFF\xD0\xFF\x00\x00\xFF\xD7\xFF\xFF\xD1\xFF\xFF\xFF"),
    ]);
    assert_eq!(check(&bytes), Ok(Picture { width: 16, height: 16, len: bytes.len() }));
}

#[test]
fn progressive_pictures_have_several_scans() {
    let bytes = jpeg(&[
        &sof(0xC2, 1024, 768),
        &segment(0xC4, &[0; 17]),
        &scan(b"\x01\xFF\x00\x02"),
        &segment(0xC4, &[0xFF; 30]),
        &scan(b"\xFF\xD3\xFF\x00"),
        &segment(0xDC, &[3, 0]),
        &scan(b""),
    ]);
    assert_eq!(check(&bytes), Ok(Picture { width: 1024, height: 768, len: bytes.len() }));
}

#[test]
fn bytes_between_segments_are_passed_over() {
    let bytes =
        jpeg(&[&segment(0xE0, b""), b"\x00junk\xFF\x00", &sof(0xC0, 1, 1), &scan(b"\xFF\x01")]);
    assert_eq!(check(&bytes), Ok(Picture { width: 1, height: 1, len: bytes.len() }));
}

#[test]
fn cut_pictures_say_what_is_known() {
    let (app, frame) = (segment(0xE0, b"JFIF"), sof(0xC0, 640, 480));
    let bytes = jpeg(&[&app, &frame, &scan(b"\x12\x34\xFF\x00\x56")]);
    let sized = 2 + app.len() + 9;
    for len in 0..bytes.len() {
        let expected = match len {
            0 | 1 => JpegError::NotJpeg,
            _ if len < sized => JpegError::Truncated { size: None },
            _ => JpegError::Truncated { size: Some((640, 480)) },
        };
        assert_eq!(check(&bytes[..len]), Err(expected), "{len}");
    }
}

#[test]
fn what_is_no_picture() {
    let frame = sof(0xC0, 4, 4);
    for (bytes, error) in [
        (b"".to_vec(), JpegError::NotJpeg),
        (b"GIF89a".to_vec(), JpegError::NotJpeg),
        (b"\x00\xFF\xD8\xFF".to_vec(), JpegError::NotJpeg),
        (b"\xFF\xD8\x00\xFF\xE0".to_vec(), JpegError::NotJpeg),
        (b"\xFF\xFF\xD8\xFF".to_vec(), JpegError::NotJpeg),
        (jpeg(&[]), JpegError::NoFrameHeader),
        (jpeg(&[&scan(b"x"), &frame]), JpegError::NoFrameHeader),
        (jpeg(&[&segment(0xC4, b"tables")]), JpegError::NoFrameHeader),
        (jpeg(&[&frame]), JpegError::NoScan),
        (jpeg(&[&sof(0xC0, 0, 4)]), JpegError::ZeroSize { width: 0, height: 4 }),
        (jpeg(&[&sof(0xC2, 255, 0)]), JpegError::ZeroSize { width: 255, height: 0 }),
        (jpeg(&[b"\xFF\xE0\0\0"]), JpegError::BadLength { length: 0, at: 5 }),
        (jpeg(&[b"\xFF\xE0\0\x01"]), JpegError::BadLength { length: 1, at: 5 }),
        (jpeg(&[b"\xFF\xC0\0\x0A"]), JpegError::BadLength { length: 10, at: 5 }),
        (jpeg(&[&frame, &scan(b"\xFF\x02")]), JpegError::ReservedMarker { marker: 2, at: 26 }),
        (
            jpeg(&[&frame, &scan(b"ab"), SOI, &segment(0xE0, b""), &frame, &scan(b"cd")]),
            JpegError::Truncated { size: Some((4, 4)) },
        ),
        // A length that leads far beyond the input.
        (jpeg(&[&frame, b"\xFF\xE1\xFF\xFF123"]), JpegError::Truncated { size: Some((4, 4)) }),
    ] {
        assert_eq!(check(&bytes), Err(error), "{bytes:x?}");
    }
}

#[test]
fn a_stream_is_taken_apart() {
    let first = jpeg(&[&segment(0xE1, &jpeg(&[])), &sof(0xC0, 16, 8), &scan(b"first")]);
    let second = jpeg(&[&sof(0xC0, 32, 8), &scan(b"second\xFF\x00")]);
    let cut = &second[..second.len() - 4];
    let bad = jpeg(&[b"\xFF\x02"]);
    let stream = [
        b"\xFF\xFF\xD8 \xFF\xD8\x00\xFF\xD9",
        &first[..],
        &[0; 10],
        cut,
        &second,
        &second,
        b"\xFF",
        &bad,
        b"\xFF\xFF",
        &first,
        b"\r\n--boundary\r\n",
        cut,
    ]
    .concat();
    let good =
        |bytes: &[u8], width| (bytes.to_vec(), Ok(Picture { width, height: 8, len: bytes.len() }));
    let error = JpegError::Truncated { size: Some((32, 8)) };
    let parts = split_everywhere(&stream);
    let expected = [
        good(&first, 16),
        // The first byte of the SOI that cuts it off is not known for one yet.
        ([cut, b"\xFF"].concat(), Err(error)),
        good(&second, 32),
        good(&second, 32),
        (b"\xFF\xD8\xFF".to_vec(), Err(JpegError::ReservedMarker { marker: 2, at: 3 })),
        good(&first, 16),
        (cut.to_vec(), Err(error)),
    ];
    assert_eq!(parts, expected);
}

/// A picture in one piece of input comes out as one piece of data, uncopied.
#[test]
fn data_is_a_slice_of_the_input() {
    let picture = jpeg(&[&sof(0xC0, 16, 8), &scan(b"data")]);
    let stream = [&b"??"[..], &picture, b"??"].concat();
    let mut input = &stream[..];
    let Some(Piece::Data(data)) = Splitter::new().next(&mut input) else { panic!("no data") };
    assert_eq!(data, picture);
    assert_eq!(data.as_ptr(), stream[2..].as_ptr());
}

#[test]
fn a_scanner_can_be_used_again() {
    let bytes = jpeg(&[&sof(0xC0, 16, 8), &scan(b"data")]);
    let mut scanner = Scanner::default();
    assert_eq!(scanner.finish(), Ok(()));
    for _ in 0..2 {
        assert_eq!(scanner.push(&bytes[..12]), Ok(None));
        assert_eq!(scanner.size(), Some((16, 8)));
        assert_eq!(scanner.push(&bytes[12..]).unwrap().unwrap().len, bytes.len());
        assert_eq!(scanner.size(), None);
        assert_eq!(scanner.push(b"x"), Err(JpegError::NotJpeg));
        assert_eq!(scanner.push(b"\xFF"), Ok(None));
        assert_eq!(scanner.finish(), Err(JpegError::NotJpeg));
    }
}

#[test]
fn it_is_small() {
    assert!(size_of::<Scanner>() <= 32, "{}", size_of::<Scanner>());
    assert!(size_of::<Splitter>() <= 80, "{}", size_of::<Splitter>());
}

/// Bytes in which structure is likely: markers, lengths, junk.
fn likely() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        Just(SOI.to_vec()),
        Just(EOI.to_vec()),
        Just(b"\xFF\xD8\xFF".to_vec()),
        any::<u8>().prop_map(|marker| vec![0xFF, marker]),
        (0xC0..=0xFEu8, proptest::collection::vec(any::<u8>(), 0..9))
            .prop_map(|(marker, payload)| segment(marker, &payload)),
        (0xC0..=0xC3u8, 0..3u16, any::<u16>()).prop_map(|(marker, w, h)| sof(marker, w, h)),
        Just(scan(b"\xFF\x00\xFF\xD2")),
        proptest::collection::vec(any::<u8>(), 0..9),
        Just(jpeg(&[&sof(0xC1, 7, 9), &scan(b"1234")])),
    ];
    proptest::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

fn cuts(bytes: &[u8], lengths: Vec<usize>) -> Vec<&[u8]> {
    let (mut rest, mut pieces) = (bytes, Vec::new());
    for length in lengths {
        let (piece, tail) = rest.split_at(length.min(rest.len()));
        pieces.push(piece);
        rest = tail;
    }
    pieces.push(rest);
    pieces
}

proptest! {
    #[test]
    fn any_bytes_give_the_naive_result(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(inspect(&bytes), naive(&bytes));
        split_everywhere(&bytes);
    }

    #[test]
    fn likely_bytes_give_the_naive_result(bytes in likely()) {
        let _ = check(&bytes);
        let _ = check(&[&b"\xFF\xD8\xFF\xE0\0\x02"[..], &bytes].concat());
    }

    #[test]
    fn every_cut_gives_the_same(
        bytes in likely(),
        lengths in proptest::collection::vec(0..20_usize, 0..30),
    ) {
        prop_assert_eq!(in_pieces(cuts(&bytes, lengths.clone())), inspect(&bytes));
        prop_assert_eq!(split(cuts(&bytes, lengths)), split([&bytes[..]]));
    }

    /// A picture with what real ones have, damaged anywhere, cut anywhere.
    #[test]
    fn damaged_pictures(
        entropy in proptest::collection::vec(any::<u8>(), 0..2000),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        lengths in proptest::collection::vec(0..700_usize, 0..20),
    ) {
        let mut bytes = like_a_cameras(&entropy);
        let len = bytes.len();
        bytes.extend([0; 50]);
        prop_assert_eq!(inspect(&bytes), Ok(Picture { width: 96, height: 96, len }));
        for (at, byte) in damage {
            bytes[at.index(len)] = byte;
        }
        prop_assert_eq!(inspect(&bytes), naive(&bytes));
        prop_assert_eq!(in_pieces(cuts(&bytes, lengths.clone())), inspect(&bytes));
        prop_assert_eq!(split(cuts(&bytes, lengths)), split([&bytes[..]]));
    }
}
