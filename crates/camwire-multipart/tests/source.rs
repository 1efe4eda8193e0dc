//! `MultipartSource` over readers that cut, stop and fail.

use camwire_frame::{
    BlockingFrameSource, CaptureError, Clock, Flow, FrameInfo, FrameSource, Instant, Quality,
    Resolution, jpeg,
};
use camwire_multipart::{
    Boundary, Config, DecodeErrorKind, Decoder, Encoder, Limits, MissingEoi, MultipartSource,
    PartHead, SourceError,
};
use camwire_pattern::TestPattern;
use embassy_futures::block_on;
use proptest::prelude::*;
use std::convert::Infallible;
use std::sync::LazyLock;
use std::time::Duration;

/// Gives at most `piece` bytes at once; counts what went to a buffer other than the work buffer.
#[derive(Debug)]
struct Reader {
    rest: Vec<u8>,
    piece: usize,
    direct: usize,
    /// Every second read is pending once.
    pending: Option<bool>,
}

const WORK: usize = 64;

impl Reader {
    fn read_now(&mut self, buf: &mut [u8]) -> usize {
        assert!(!buf.is_empty(), "an empty read says nothing");
        let n = buf.len().min(self.piece).min(self.rest.len());
        buf[..n].copy_from_slice(&self.rest[..n]);
        self.rest.drain(..n);
        if buf.len() != WORK {
            self.direct += n;
        }
        n
    }
}

impl embedded_io::ErrorType for Reader {
    type Error = Infallible;
}

impl embedded_io::Read for Reader {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Infallible> {
        Ok(self.read_now(buf))
    }
}

impl embedded_io_async::Read for Reader {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Infallible> {
        if let Some(pending) = &mut self.pending {
            *pending = !*pending;
            if *pending {
                embassy_futures::yield_now().await;
            }
        }
        Ok(self.read_now(buf))
    }
}

/// One microsecond later each time.
#[derive(Debug, Default)]
struct Ticks(std::cell::Cell<u64>);

impl Clock for Ticks {
    fn now(&self) -> Instant {
        self.0.set(self.0.get() + 1);
        Instant::from_micros(self.0.get())
    }

    async fn sleep_until(&self, _: Instant) {}
}

type Source = MultipartSource<Reader, Ticks, WORK>;

fn boundary() -> Boundary {
    Boundary::new("frame").unwrap()
}

fn encoder() -> Encoder {
    Encoder::with_predictable_boundary(&boundary())
}

fn source(body: Vec<u8>, piece: usize) -> Source {
    source_by(Config::default(), body, piece)
}

fn source_by(config: Config, body: Vec<u8>, piece: usize) -> Source {
    let decoder = Decoder::new(&boundary(), config);
    let reader = Reader { rest: body, piece, direct: 0, pending: None };
    MultipartSource::new(reader, decoder, Ticks::default())
}

fn picture(number: u64) -> Vec<u8> {
    let mut memory = vec![0; 8192];
    let pattern = TestPattern::new(Resolution::QQVGA, Quality::MAX);
    let len = pattern.encode(number, Duration::ZERO, &mut memory).unwrap();
    memory.truncate(len);
    memory
}

/// To draw one takes a while.
static FRAMES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| (0..24).map(picture).collect());

fn part(length: Option<usize>, sequence: u64, payload: &[u8]) -> Vec<u8> {
    let head = PartHead {
        content_length: length.map(|n| n as u64),
        timestamp_us: Some(sequence * 1_000_000 + 5),
        sequence: Some(sequence),
        missed: None,
    };
    let head = head.encode(&mut [0; PartHead::MAX_LEN]).to_vec();
    [&head, payload, encoder().tail()].concat()
}

fn body(parts: &[Vec<u8>]) -> Vec<u8> {
    [encoder().opening(), &parts.concat()].concat()
}

type Captured = Result<(FrameInfo, Vec<u8>), CaptureError<SourceError<Infallible>>>;

fn capture(source: &mut Source, slot: usize) -> Captured {
    let mut slot = vec![0xA5; slot];
    let info = BlockingFrameSource::capture(source, &mut slot)?;
    slot.truncate(info.len);
    Ok((info, slot))
}

const SLOT: usize = 8192;

#[test]
fn whole_pictures_come_whole() {
    for with_length in [true, false] {
        for piece in [1, 7, 63, 1000, 100_000] {
            let pictures: Vec<_> = (0..4).map(picture).collect();
            let parts: Vec<_> = pictures
                .iter()
                .zip(0..)
                .map(|(p, n)| part(with_length.then_some(p.len()), n, p))
                .collect();
            let mut source = source(body(&parts), piece);
            for (expected, n) in pictures.iter().zip(0u64..) {
                let (info, slot) = capture(&mut source, SLOT).unwrap();
                assert_eq!(&slot, expected);
                assert_eq!((info.width, info.height), (160, 120));
                assert_eq!(info.upstream.sequence, Some(n));
                assert_eq!(info.upstream.timestamp_us, Some(n * 1_000_000 + 5));
                assert!(info.captured_at > Instant::ZERO);
            }
            assert_eq!(capture(&mut source, SLOT), Err(CaptureError::Ended));
            assert_eq!(capture(&mut source, SLOT), Err(CaptureError::Ended));
            assert_eq!(source.counts().pictures, 4);
            // All but what was read together with a head went straight to the slot.
            let total: usize = pictures.iter().map(Vec::len).sum();
            let direct = source.reader().direct;
            match with_length {
                true => assert!(direct + 8 * WORK >= total, "{direct} of {total}"),
                false => assert_eq!(direct, 0),
            }
        }
    }
}

#[test]
fn a_picture_does_not_wait_for_the_delimiter() {
    for with_length in [true, false] {
        let p = picture(1);
        let mut all = body(&[part(with_length.then_some(p.len()), 1, &p)]);
        all.truncate(all.len() - encoder().tail().len());
        let mut source = source(all, 50);
        // Had it tried to read more, the end of the stream would have come first, too; so count.
        assert_eq!(capture(&mut source, SLOT).unwrap().1, p);
        assert!(source.reader().rest.is_empty());
        assert_eq!(capture(&mut source, SLOT), Err(CaptureError::Ended));
        let counts = source.counts();
        assert_eq!((counts.pictures, counts.broken), (1, 0));
    }
}

#[test]
fn padding_behind_the_picture_is_cut_off() {
    let p = picture(1);
    let padded = [&p[..], &[0; 300]].concat();
    let parts = [part(Some(padded.len()), 1, &padded), part(None, 2, &padded), part(None, 3, &p)];
    let mut source = source(body(&parts), 1000);
    for _ in 0..3 {
        assert_eq!(capture(&mut source, SLOT).unwrap().1, p);
    }
}

#[test]
fn too_large_names_what_is_needed_and_goes_on() {
    let (small, large) = (picture(1), [&picture(2)[..], &[0; 100]].concat());
    let parts = [
        part(Some(large.len()), 1, &large),
        part(None, 2, &large),
        part(Some(small.len()), 3, &small),
    ];
    let mut source = source(body(&parts), 1000);
    let needed = picture(2).len();
    assert_eq!(capture(&mut source, 1000), Err(CaptureError::TooLarge { needed }));
    assert_eq!(capture(&mut source, 1000), Err(CaptureError::TooLarge { needed }));
    assert_eq!(capture(&mut source, SLOT).unwrap().1, small);
    assert_eq!(source.counts().too_large, 2);
    // A slot without room is no reason to read into nothing.
    let parts = [part(Some(small.len()), 3, &small), part(None, 3, &small)];
    let mut source = self::source(body(&parts), 1000);
    let needed = small.len();
    assert_eq!(capture(&mut source, 0), Err(CaptureError::TooLarge { needed }));
    assert_eq!(capture(&mut source, 0), Err(CaptureError::TooLarge { needed }));
}

#[test]
fn broken_ones_are_told_and_others_go_on() {
    let p = picture(1);
    let cut = &p[..p.len() - 2];
    let mut damaged = p.clone();
    damaged[20] = 0xFF;
    damaged.truncate(100);
    let parts = [
        part(Some(cut.len()), 1, cut),
        part(Some(p.len()), 2, &p),
        part(None, 3, cut),
        part(None, 4, &damaged),
        part(Some(9), 5, b"not JPEG!"),
        b"Content-Length: x\r\n\r\n".iter().chain(encoder().tail()).copied().collect(),
        // Too short: no EOI. Too long: it is whole, although the length is wrong.
        part(Some(p.len() - 10), 6, &p),
        part(Some(p.len() + 50), 7, &p),
        part(Some(p.len()), 8, &p),
    ];
    for piece in [1, 100, 100_000] {
        let mut source = source(body(&parts), piece).missing_eoi(MissingEoi::Broken);
        let mut pictures = Vec::new();
        let mut broken = 0;
        loop {
            match capture(&mut source, SLOT) {
                Ok((info, slot)) => {
                    assert!(slot == p);
                    pictures.push(info.upstream.sequence.unwrap());
                }
                Err(CaptureError::Broken) => broken += 1,
                Err(CaptureError::Ended) => break,
                Err(error) => panic!("{error}"),
            }
        }
        // A part without type that is no JPEG is passed over.
        assert_eq!(pictures, [2, 6, 7, 8], "{piece}");
        assert_eq!(broken, 4);
        let counts = source.counts();
        assert_eq!((counts.broken, counts.wrong_length, counts.not_jpeg), (4, 2, 1));
    }
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Becomes {
    /// It is returned as it should be.
    Whole,
    /// It is returned with an EOI.
    Completed,
    Dropped,
}

/// What is wrong with one frame costs no other, however the stream is cut, and whatever comes with
/// the same read.
#[test]
fn one_damaged_frame_costs_no_other() {
    use Becomes::{Completed, Dropped, Whole};

    let good: Vec<_> = (0..4).map(picture).collect();
    let p = picture(9);
    let cut = &p[..p.len() - 400];
    let bare = &p[..p.len() - 2];
    let with_length = |len: usize, payload: &[u8]| part(Some(len), 9, payload);
    let garbage: Vec<u8> =
        (0..5000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let kinds: &[(&str, Vec<u8>, Becomes)] = &[
        ("cut off, right length", with_length(cut.len(), cut), Completed),
        ("cut off, length of the whole", with_length(p.len(), cut), Dropped),
        ("cut off, length of nothing", with_length(10, cut), Completed),
        ("cut off, no length", part(None, 9, cut), Completed),
        ("no EOI, right length", with_length(bare.len(), bare), Completed),
        // The line end before the delimiter is as long as the EOI.
        ("no EOI, length of the whole", with_length(p.len(), bare), Completed),
        ("no EOI, length much too large", with_length(p.len() + 20, bare), Dropped),
        ("no EOI, no length", part(None, 9, bare), Completed),
        ("cut off in the head", part(None, 9, &p[..100]), Dropped),
        ("whole, length too small by 1", with_length(p.len() - 1, &p), Whole),
        ("whole, length too small by 60", with_length(p.len() - 60, &p), Whole),
        ("whole, length too small: 0", with_length(0, &p), Whole),
        ("whole, length too large by 1", with_length(p.len() + 1, &p), Whole),
        ("whole, length too large by 50", with_length(p.len() + 50, &p), Whole),
        ("whole, length too large by 700", with_length(p.len() + 700, &p), Whole),
        ("garbage", with_length(garbage.len(), &garbage), Dropped),
        (
            "garbage behind an SOI",
            with_length(5002, &[b"\xff\xd8", &garbage[..]].concat()),
            Dropped,
        ),
        ("text", with_length(9, b"not JPEG!"), Dropped),
        ("nothing", with_length(0, b""), Dropped),
    ];
    for (kind, bad, becomes) in kinds {
        let mut parts: Vec<_> =
            (0..4).map(|n| part(Some(good[n].len()), n as u64, &good[n])).collect();
        parts.insert(2, bad.clone());
        for piece in [3, 100, 999, 5000, 100_000] {
            let decoder = Decoder::new(&boundary(), Config::default());
            let reader = Reader { rest: body(&parts), piece, direct: 0, pending: None };
            let mut source: MultipartSource<_, _, 1024> =
                MultipartSource::new(reader, decoder, Ticks::default());
            let (mut numbers, mut broken) = (Vec::new(), 0);
            let mut slot = vec![0; SLOT];
            loop {
                match BlockingFrameSource::capture(&mut source, &mut slot) {
                    Ok(info) => {
                        let number = info.upstream.sequence.unwrap();
                        let frame = &slot[..info.len];
                        match good.get(number as usize) {
                            Some(expected) => assert!(frame == expected, "{kind}"),
                            None if *becomes == Whole => assert!(frame == p, "{kind}"),
                            None => assert!(
                                frame.starts_with(cut) && frame.ends_with(b"\xFF\xD9"),
                                "{kind}"
                            ),
                        }
                        numbers.push(number);
                    }
                    Err(CaptureError::Broken) => broken += 1,
                    Err(CaptureError::Ended) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            let expected: &[u64] =
                if *becomes == Dropped { &[0, 1, 2, 3] } else { &[0, 1, 9, 2, 3] };
            assert_eq!(numbers, expected, "{kind}, in pieces of {piece}");
            let counts = source.counts();
            let dropped = u64::from(*becomes == Dropped);
            assert_eq!((broken, counts.broken), (dropped, dropped), "{kind}");
            assert_eq!(counts.no_eoi, u64::from(*becomes == Completed), "{kind}");
            let is_wrong = ["too", "cut off, length"];
            let is_wrong = is_wrong.iter().any(|wrong| kind.contains(wrong));
            assert_eq!(counts.wrong_length, u64::from(is_wrong), "{kind}, in pieces of {piece}");
        }
    }
}

/// A server that writes every part in its own way.
struct Server {
    name: &'static str,
    opening: &'static [u8],
    /// The part with this frame, delimiter behind it included. The second number is the length of
    /// the frame before.
    part: fn(&[u8], usize) -> Vec<u8>,
    /// What becomes of its frames.
    becomes: Becomes,
    /// How many of its first frames are lost before that is so.
    lost: usize,
}

/// A part of [`Server`] with this length, payload and end.
fn written(length: impl std::fmt::Display, payload: &[u8], end: &[u8]) -> Vec<u8> {
    let head = format!("Content-Type: image/jpeg\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), payload, end].concat()
}

/// As [`written`], without a length.
fn unmeasured(payload: &[u8], end: &[u8]) -> Vec<u8> {
    [b"Content-Type: image/jpeg\r\n\r\n", payload, end].concat()
}

const END: &[u8] = b"\r\n--frame\r\n";

/// One that is found in the field is one line more.
#[rustfmt::skip]
const SERVERS: &[Server] = &{
    use Becomes::{Completed, Dropped, Whole};
    const fn server(name: &'static str, part: fn(&[u8], usize) -> Vec<u8>, becomes: Becomes) -> Server {
        Server { name, opening: b"--frame\r\n", part, becomes, lost: 0 }
    }
    const fn after(lost: usize, server: Server) -> Server {
        Server { lost, ..server }
    }
    const fn opening(opening: &'static [u8], server: Server) -> Server {
        Server { opening, ..server }
    }
    [
        server("right", |p, _| written(p.len(), p, END), Whole),
        server("no length", |p, _| unmeasured(p, END), Whole),
        server("too small by 2", |p, _| written(p.len() - 2, p, END), Whole),
        server("too small by 60", |p, _| written(p.len() - 60, p, END), Whole),
        server("length 0", |p, _| written(0, p, END), Whole),
        server("length -1", |p, _| written(-1, p, END), Whole),
        server("length with unit", |p, _| written(format!("{} bytes", p.len()), p, END), Whole),
        server("two lengths", |p, _| written(format!("{}\r\nContent-Length: 7", p.len()), p, END), Whole),
        server("space before the colon", |p, _| [b"Content-Type : image/jpeg\r\nContent-Length :3\r\n\r\n", p, END].concat(), Whole),
        server("too large by 4", |p, _| written(p.len() + 4, p, END), Whole),
        server("too large by 700", |p, _| written(p.len() + 700, p, END), Whole),
        server("of the frame before", |p, before| written(before, p, END), Whole),
        server("beyond the slot", |p, _| written(SLOT * 2, p, END), Whole),
        server("beyond every limit", |p, _| written(u64::MAX, p, END), Whole),
        server("zeros before SOI", |p, _| written(p.len() + 300, &[&[0; 300], p].concat(), END), Whole),
        server("line end before SOI", |p, _| written(p.len(), &[b"\r\n", p].concat(), END), Whole),
        server("fill byte before SOI", |p, _| written(p.len() + 1, &[b"\xFF", p].concat(), END), Whole),
        server("two SOI", |p, _| written(p.len() + 2, &[b"\xFF\xD8", p].concat(), END), Whole),
        server("zeros after EOI", |p, _| written(p.len() + 90, &[p, &[0; 90]].concat(), END), Whole),
        server("no EOI", |p, _| written(p.len() - 2, &p[..p.len() - 2], END), Completed),
        server("no EOI, no length", |p, _| unmeasured(&p[..p.len() - 2], END), Completed),
        server("no EOI, too small", |p, _| written(p.len() - 9, &p[..p.len() - 2], END), Completed),
        after(3, server("no EOI, too large", |p, _| written(p.len() + 20, &p[..p.len() - 2], END), Completed)),
        server("no line end, no length", |p, _| unmeasured(p, b"--frame\r\n"), Whole),
        server("no line end, length", |p, _| written(p.len(), p, b"--frame\r\n"), Whole),
        server("no line end, too small", |p, _| written(p.len() - 5, p, b"--frame\r\n"), Whole),
        server("no line end, too large", |p, _| written(p.len() + 5, p, b"--frame\r\n"), Whole),
        server("bare LF", |p, _| [b"Content-Type: image/jpeg\n\n", p, b"\n--frame\n"].concat(), Whole),
        opening(b"--frame", server("glued to the head", |p, _| written(p.len(), p, b"\r\n--frame"), Whole)),
        opening(b"--frame", server("glued on both sides", |p, _| unmeasured(p, b"--frame"), Whole)),
        server("octet-stream", |p, _| [b"Content-Type: application/octet-stream\r\n\r\n", p, END].concat(), Whole),
        server("image/pjpeg", |p, _| [b"Content-Type: Image/PJPEG\r\n\r\n", p, END].concat(), Whole),
        server("nameless and folded lines", |p, _| [b"Tue Dec 1\r\nA: b\r\n c\r\n: x\r\n\r\n", p, END].concat(), Whole),
        server("no head", |p, _| [b"\r\n", p, END].concat(), Whole),
        server("cut at its head", |p, _| written(p.len(), &p[..50], END), Dropped),
    ]
};

#[test]
fn servers_that_are_always_wrong() {
    let frames = &*FRAMES;
    for Server { name, opening, part, becomes, lost } in SERVERS {
        let mut bytes = opening.to_vec();
        let mut before = frames[23].len();
        for frame in frames {
            bytes.extend(part(frame, before));
            before = frame.len();
        }
        for piece in [1, 100, 1460, 100_000] {
            let decoder = Decoder::new(&boundary(), Config::default());
            let reader = Reader { rest: bytes.clone(), piece, direct: 0, pending: None };
            let mut source: MultipartSource<_, _, 1024> =
                MultipartSource::new(reader, decoder, Ticks::default());
            let (mut found, mut errors) = (0, 0);
            let mut slot = vec![0; SLOT];
            loop {
                match BlockingFrameSource::capture(&mut source, &mut slot) {
                    Ok(info) => {
                        // Completed, it is what it should have been.
                        let expected = &frames[found + lost];
                        assert!(&slot[..info.len] == expected, "{name}: {found} in {piece}");
                        found += 1;
                    }
                    Err(CaptureError::Ended) => break,
                    Err(CaptureError::Broken | CaptureError::TooLarge { .. }) => errors += 1,
                    Err(error) => panic!("{name}: {error}"),
                }
            }
            let counts = source.counts();
            match becomes {
                Becomes::Dropped => assert!(found == 0 && errors > 0, "{name} in {piece}"),
                _ => assert_eq!((found, errors), (24 - lost, *lost), "{name} in {piece}"),
            }
            if *becomes == Becomes::Completed {
                assert_eq!(counts.no_eoi, found as u64, "{name}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    /// Frames whose lengths lie, and cut ones among them: every whole frame comes, in order, and
    /// nothing comes that the server has not sent.
    #[test]
    fn no_lie_about_a_length_costs_a_frame(
        // By how much the length is wrong, and how many bytes of the frame are missing.
        kinds in proptest::collection::vec(
            (
                prop_oneof![Just(Some(0)), (-3000_isize..700).prop_map(Some), Just(None)],
                prop_oneof![4 => Just(0), 1 => 3_usize..3000],
            ),
            1..20,
        ),
        pieces in prop_oneof![1_usize..40, 40_usize..6000],
    ) {
        let frames = &*FRAMES;
        let parts: Vec<_> = frames.iter().zip(&kinds).zip(0..).map(|((frame, (lie, missing)), n)| {
            let length = lie.map(|lie| frame.len().saturating_add_signed(lie));
            part(length, n, &frame[..frame.len() - missing])
        }).collect();
        let decoder = Decoder::new(&boundary(), Config::default());
        let reader = Reader { rest: body(&parts), piece: pieces, direct: 0, pending: None };
        let mut source: MultipartSource<_, _, 8192> =
            MultipartSource::new(reader, decoder, Ticks::default());
        let mut slot = vec![0; SLOT];
        let mut whole = Vec::new();
        loop {
            match BlockingFrameSource::capture(&mut source, &mut slot) {
                Ok(info) => {
                    let n = info.upstream.sequence.unwrap() as usize;
                    let frame = &slot[..info.len];
                    if kinds[n].1 == 0 {
                        prop_assert!(frame == frames[n], "{}", n);
                        whole.push(n);
                    } else {
                        let sent = &frames[n][..frames[n].len() - kinds[n].1];
                        prop_assert!(frame.starts_with(sent) && frame.ends_with(b"\xFF\xD9"));
                    }
                }
                Err(CaptureError::Broken) => {}
                Err(CaptureError::Ended) => break,
                Err(error) => panic!("{error}"),
            }
        }
        let sent: Vec<_> = (0..kinds.len()).filter(|&n| kinds[n].1 == 0).collect();
        prop_assert_eq!(whole, sent);
    }
}

/// A length of megabytes at a frame of kilobytes.
#[test]
fn absurd_length_costs_what_was_read_with_it_at_most() {
    let good: Vec<_> = (0..20).map(picture).collect();
    let p = picture(99);
    for payload in [&p[..], &p[..p.len() - 400], b"not JPEG!"] {
        for length in [100_000, 5_000_000, 8 << 20, usize::MAX >> 1] {
            let mut parts: Vec<_> =
                (0..20).map(|n| part(Some(good[n].len()), n as u64, &good[n])).collect();
            parts.insert(5, part(Some(length), 99, payload));
            for piece in [100, 1460, 100_000] {
                let mut source = source(body(&parts), piece);
                let (mut numbers, mut errors) = (Vec::new(), 0);
                loop {
                    match capture(&mut source, 1 << 20) {
                        Ok((info, _)) => numbers.push(info.upstream.sequence.unwrap()),
                        Err(CaptureError::Ended) => break,
                        Err(_) => errors += 1,
                    }
                }
                numbers.retain(|number| *number != 99);
                let lost = 20 - numbers.len();
                // What came with the same read as the end of the frame is gone with it.
                let shortest = good.iter().map(Vec::len).min().unwrap();
                let most = 1 + piece.div_ceil(shortest);
                assert!(lost <= most, "{lost} lost of {length} in pieces of {piece}");
                assert!(errors <= 2, "{errors}");
            }
        }
    }
}

#[test]
fn missing_eoi() {
    let p = picture(1);
    let cut = &p[..p.len() - 2];
    let parts = [part(Some(cut.len()), 1, cut), part(None, 2, cut), part(None, 3, &p[..30])];
    let mut source = source(body(&parts), 1000).missing_eoi(MissingEoi::Append);
    assert_eq!(capture(&mut source, SLOT).unwrap().1, p);
    assert_eq!(capture(&mut source, SLOT).unwrap().1, p);
    assert_eq!(capture(&mut source, SLOT), Err(CaptureError::Broken));
    let mut source = self::source(body(&parts), 1000).missing_eoi(MissingEoi::Append);
    let needed = p.len();
    assert_eq!(capture(&mut source, cut.len()), Err(CaptureError::TooLarge { needed }));
}

#[test]
fn other_parts_are_passed_over() {
    let p = picture(1);
    let text = b"Content-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello";
    let none = b"X-Frame: 1\r\n\r\nhello";
    let tail = encoder();
    let parts = [
        [&text[..], tail.tail()].concat(),
        [&none[..], tail.tail()].concat(),
        part(Some(p.len()), 1, &p),
        tail.closing().concat(),
        part(Some(p.len()), 1, &p),
    ];
    let mut source = source(body(&parts), 1000);
    assert_eq!(capture(&mut source, SLOT).unwrap().1, p);
    assert_eq!(source.counts().not_jpeg, 2);
    for _ in 0..3 {
        assert_eq!(capture(&mut source, SLOT), Err(CaptureError::Ended));
    }
}

#[test]
fn no_multipart_at_all() {
    let limits = Limits { preamble_bytes: 100, ..Limits::DEFAULT };
    let config = Config { limits, ..Config::default() };
    let mut source = source_by(config, b"<html>".repeat(100), 1000);
    for _ in 0..2 {
        match capture(&mut source, SLOT) {
            Err(CaptureError::Source(SourceError::Decode(error))) => {
                assert_eq!(error.kind, DecodeErrorKind::PreambleTooLong { limit: 100 });
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_dropped_capture_loses_its_picture_only() {
    let pictures: Vec<_> = (0..10).map(picture).collect();
    for with_length in [true, false] {
        let parts: Vec<_> = pictures
            .iter()
            .zip(0..)
            .map(|(p, n)| part(with_length.then_some(p.len()), n, p))
            .collect();
        let mut source = source(body(&parts), 200);
        source = {
            let mut reader = source.into_reader();
            reader.pending = Some(false);
            let decoder = Decoder::new(&boundary(), Config::default());
            MultipartSource::new(reader, decoder, Ticks::default())
        };
        let mut seen = Vec::new();
        for polls in 0.. {
            let mut slot = vec![0; SLOT];
            {
                let mut capture = std::pin::pin!(FrameSource::capture(&mut source, &mut slot));
                let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                for _ in 0..polls % 5 {
                    // Ready only at the end of the stream.
                    if capture.as_mut().poll(&mut context).is_ready() {
                        break;
                    }
                }
            }
            // The next one goes to another slot, which has nothing of the one before.
            let mut slot = vec![0xA5; SLOT];
            match block_on(FrameSource::capture(&mut source, &mut slot)) {
                Ok(info) => {
                    let n = info.upstream.sequence.unwrap() as usize;
                    assert_eq!(slot[..info.len], pictures[n]);
                    assert!(jpeg::inspect(&slot).is_ok());
                    seen.push(n);
                }
                Err(CaptureError::Ended) => break,
                Err(error) => panic!("{error}"),
            }
        }
        assert!(seen.is_sorted_by(|a, b| a < b));
        assert!(seen.len() >= 4, "{seen:?}");
    }
}

/// A part whose head says this of it.
fn marked(sequence: Option<u64>, timestamp_us: Option<u64>, payload: &[u8]) -> Vec<u8> {
    let content_length = Some(payload.len() as u64);
    let head = PartHead { content_length, timestamp_us, sequence, missed: None };
    let head = head.encode(&mut [0; PartHead::MAX_LEN]).to_vec();
    [&head, payload, encoder().tail()].concat()
}

/// What comes of a body: the picture, or whether it was a repeat. Panics at any other error.
fn new_and_repeated(source: &mut Source) -> Vec<Option<Vec<u8>>> {
    let mut all = Vec::new();
    loop {
        all.push(match capture(source, SLOT) {
            Ok((_, picture)) => Some(picture),
            Err(CaptureError::Repeat) => None,
            Err(CaptureError::Ended) => return all,
            Err(error) => panic!("{error}"),
        });
    }
}

#[test]
fn last_frame_sent_again_is_a_repeat() {
    let pictures: Vec<_> = (0..3).map(picture).collect();
    for with_length in [true, false] {
        for piece in [1, 50, 100_000] {
            let numbers = [0, 0, 1, 2, 2, 2];
            let one =
                |&n: &usize| part(with_length.then_some(pictures[n].len()), n as u64, &pictures[n]);
            let mut source = source(body(&numbers.iter().map(one).collect::<Vec<_>>()), piece);
            let [zero, one, two] = [0, 1, 2].map(|n| Some(pictures[n].clone()));
            assert_eq!(new_and_repeated(&mut source), [zero, None, one, two, None, None]);
            let counts = source.counts();
            assert_eq!((counts.pictures, counts.repeats, counts.broken), (3, 3, 0));
        }
    }
}

/// Numbers and times that are constant, that start anew, or that are wrong in other ways.
#[test]
fn wrong_numbers_lose_no_frame() {
    // All of the same length, so that only their bytes differ.
    let pictures: Vec<_> = (0..4u8)
        .map(|n| {
            let mut picture = picture(1);
            let at = picture.len() - 10;
            picture[at] = n;
            picture
        })
        .collect();
    for (sequence, timestamp_us) in
        [(Some(0), None), (None, Some(0)), (Some(0), Some(0)), (Some(u64::MAX), Some(7))]
    {
        let parts: Vec<_> = pictures.iter().map(|p| marked(sequence, timestamp_us, p)).collect();
        let got = new_and_repeated(&mut source(body(&parts), 1000));
        assert_eq!(got, pictures.iter().cloned().map(Some).collect::<Vec<_>>());
    }
    // A still scene of a camera that numbers its frames, and one that started anew.
    let still = &pictures[0];
    let marks = [(1, 10), (2, 20), (3, 20), (3, 30), (1, 10), (1, 10)];
    let parts = marks.map(|(number, time)| marked(Some(number), Some(time), still));
    let got = new_and_repeated(&mut source(body(&parts), 1000));
    assert_eq!(
        got.iter().map(Option::is_some).collect::<Vec<_>>(),
        [true, true, true, true, true, false]
    );
}

#[test]
fn frames_without_number_and_time_are_all_new() {
    let p = picture(1);
    let parts = [marked(None, None, &p), marked(None, None, &p), marked(None, None, &p)];
    let mut source = source(body(&parts), 1000);
    assert_eq!(new_and_repeated(&mut source), vec![Some(p); 3]);
    assert_eq!(source.counts().repeats, 0);
}

#[test]
fn repeats_are_known_across_connections() {
    let (one, two) = (picture(1), picture(2));
    let mut first = source(body(&[part(Some(one.len()), 1, &one)]), 1000);
    assert_eq!(new_and_repeated(&mut first), [Some(one.clone())]);
    let again = || body(&[part(Some(one.len()), 1, &one), part(Some(two.len()), 2, &two)]);
    let mut next = source(again(), 1000).with_repeat_filter(first.repeat_filter());
    assert_eq!(new_and_repeated(&mut next), [None, Some(two.clone())]);
    // Without that, and after a pause, it is new for those who come then.
    assert_eq!(new_and_repeated(&mut source(again(), 1000)).len(), 2);
    let mut paused = source(again(), 1000).with_repeat_filter(first.repeat_filter());
    BlockingFrameSource::pause(&mut paused);
    assert_eq!(new_and_repeated(&mut paused), [Some(one), Some(two)]);
}

/// Into no memory at all, which is how a stream is read while there is no slot.
#[test]
fn frames_are_thrown_away_one_by_one() {
    let pictures: Vec<_> = (0..6).map(picture).collect();
    for with_length in [true, false] {
        for piece in [1, 700, 100_000] {
            let parts: Vec<_> = pictures
                .iter()
                .zip(0..)
                .flat_map(|(p, n)| {
                    let part = part(with_length.then_some(p.len()), n, p);
                    [part.clone(), part]
                })
                .collect();
            let mut source = source(body(&parts), piece);
            assert_eq!(capture(&mut source, SLOT).unwrap().1, pictures[0]);
            assert_eq!(capture(&mut source, 0), Err(CaptureError::Repeat));
            for _ in 0..2 {
                let needed = pictures[1].len();
                assert_eq!(capture(&mut source, 0), Err(CaptureError::TooLarge { needed }));
            }
            // One that was thrown away is not the last one that was taken.
            let needed = pictures[2].len();
            assert_eq!(capture(&mut source, 0), Err(CaptureError::TooLarge { needed }));
            assert_eq!(capture(&mut source, SLOT).unwrap().1, pictures[2]);
            assert_eq!(capture(&mut source, SLOT).unwrap().1, pictures[3]);
            assert_eq!(capture(&mut source, SLOT), Err(CaptureError::Repeat));
            assert_eq!(capture(&mut source, SLOT).unwrap().1, pictures[4]);
        }
    }
}

#[test]
fn it_is_a_stream_until_it_ends() {
    let flow = |source: &Source| BlockingFrameSource::flow(source);
    let p = picture(1);
    let parts = [part(Some(9), 1, b"not JPEG!"), part(None, 2, &p[..50]), part(None, 3, &p)];
    let mut source = source(body(&parts), 1000);
    assert_eq!(flow(&source), Flow::Stream);
    for error in [CaptureError::Broken, CaptureError::Broken] {
        assert_eq!(capture(&mut source, SLOT), Err(error));
        assert_eq!(flow(&source), Flow::Stream, "it goes on behind a damaged frame");
    }
    let needed = p.len();
    assert_eq!(capture(&mut source, 100), Err(CaptureError::TooLarge { needed }));
    assert_eq!(flow(&source), Flow::Stream);
    assert_eq!(capture(&mut source, SLOT), Err(CaptureError::Ended));
    assert_eq!(flow(&source), Flow::OnDemand);
    assert_eq!(FrameSource::flow(&source), Flow::OnDemand);

    let limits = Limits { preamble_bytes: 100, ..Limits::DEFAULT };
    let config = Config { limits, ..Config::default() };
    let mut source = source_by(config, b"<html>".repeat(100), 1000);
    assert!(matches!(capture(&mut source, SLOT), Err(CaptureError::Source(_))));
    assert_eq!(flow(&source), Flow::OnDemand);
}

/// Fails at every second read.
struct Failing<'b>(&'b [u8], bool);

impl embedded_io::ErrorType for Failing<'_> {
    type Error = embedded_io::ErrorKind;
}

impl embedded_io::Read for Failing<'_> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
        self.1 = !self.1;
        if self.1 {
            return Err(embedded_io::ErrorKind::TimedOut);
        }
        embedded_io::Read::read(&mut self.0, buf).map_err(|never| match never {})
    }
}

#[test]
fn it_is_no_stream_while_reading_fails() {
    let p = picture(1);
    let body = body(&[part(Some(p.len()), 1, &p), part(Some(p.len()), 2, &p)]);
    let decoder = Decoder::new(&boundary(), Config::default());
    let reader = Failing(&body, false);
    let mut source: MultipartSource<_, _, 8192> =
        MultipartSource::new(reader, decoder, Ticks::default());
    let mut slot = vec![0; SLOT];
    let failed = BlockingFrameSource::capture(&mut source, &mut slot);
    assert!(matches!(failed, Err(CaptureError::Source(SourceError::Read(_)))));
    assert_eq!(BlockingFrameSource::flow(&source), Flow::OnDemand);
    // The reader may be asked again.
    assert!(BlockingFrameSource::capture(&mut source, &mut slot).is_ok());
    assert_eq!(BlockingFrameSource::flow(&source), Flow::Stream);
}

#[test]
fn the_future_is_send() {
    struct Plain;
    impl Clock for Plain {
        fn now(&self) -> Instant {
            Instant::ZERO
        }
        async fn sleep_until(&self, _: Instant) {}
    }
    fn send<T: Send>(_: &T) {}
    let mut source: MultipartSource<&[u8], Plain> =
        MultipartSource::new(&[], Decoder::new(&boundary(), Config::default()), Plain);
    let mut slot = [0; 8];
    send(&FrameSource::capture(&mut source, &mut slot));
}
