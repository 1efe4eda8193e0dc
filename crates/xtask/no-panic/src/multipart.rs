//! camwire-multipart

use crate::opaque::{Peer, any, bytes, changed, formatted, one_of, perhaps, text};
use camwire_frame::{BlockingFrameSource, FrameSource};
use camwire_multipart::{
    Boundary, Config, Decoder, Encoder, Events, Limits, MediaType, MissingEoi, MultipartSource,
    PartHead, Quirks, WrongLength,
};
use core::{
    fmt::{Debug, Display},
    hint::black_box,
};

pub fn call_all() {
    boundaries();
    encoder();
    decoder();
    source();
}

pub fn boundary() -> Boundary {
    const X: Boundary = match Boundary::new("x") {
        Ok(boundary) => boundary,
        Err(_) => panic!("it is one"),
    };
    let mut boundary = X;
    changed(&mut boundary);
    boundary
}

fn boundaries() {
    let mut boundary = match Boundary::new(text()) {
        Ok(boundary) => boundary,
        Err(error) => return formatted(|f| Display::fmt(&error, f)),
    };
    changed(&mut boundary);
    black_box(Boundary::as_str(&boundary));
    black_box(Boundary::as_bytes(&boundary));
    black_box(Boundary::needs_quotes(&boundary));
    formatted(|f| <Boundary as Display>::fmt(&boundary, f));
    formatted(|f| <Boundary as Debug>::fmt(&boundary, f));
}

fn encoder() {
    for mut encoder in
        [Encoder::new(any::<u128>().to_ne_bytes()), Encoder::with_predictable_boundary(&boundary())]
    {
        changed(&mut encoder);
        body(&encoder);
    }

    let head = PartHead {
        content_length: perhaps(any()),
        timestamp_us: perhaps(any()),
        sequence: perhaps(any()),
        missed: perhaps(any()),
    };
    black_box(PartHead::encode(&head, &mut [0; PartHead::MAX_LEN]));
}

fn body(encoder: &Encoder) {
    let mut media_type = Encoder::content_type(encoder);
    changed(&mut media_type);
    black_box((MediaType::as_bytes(&media_type), MediaType::as_str(&media_type)));
    formatted(|f| <MediaType as Display>::fmt(&media_type, f));
    formatted(|f| <MediaType as Debug>::fmt(&media_type, f));
    black_box(Encoder::opening(encoder));
    black_box(Encoder::tail(encoder));
    black_box(Encoder::closing(encoder));
    black_box(Encoder::advance_opening(encoder));
    black_box(Encoder::advance_tail(encoder));
}

pub fn config() -> Config {
    let flag = || any::<u8>() != 0;
    let quirks = Quirks {
        lf_line_ends: flag(),
        missing_first_delimiter: flag(),
        dashed_boundary: flag(),
        missing_boundary: flag(),
        loose_boundary: flag(),
        loose_part_end: flag(),
        blank_line_before_head: flag(),
        glued_delimiter: flag(),
        junk_in_head: flag(),
        wrong_length: one_of([WrongLength::Refuse, WrongLength::Continue, WrongLength::Ignore]),
    };
    let limits = Limits {
        head_bytes: any(),
        head_fields: any(),
        part_bytes: any(),
        preamble_bytes: any(),
        resync_bytes: any(),
    };
    let presets =
        Config { quirks: <Quirks as Default>::default(), limits: <Limits as Default>::default() };
    one_of([Config { quirks, limits }, Config::strict(), presets])
}

fn decoder() {
    let decoder = Decoder::from_content_type(bytes(), config());
    let mut decoder = match decoder {
        Ok(decoder) => decoder,
        Err(error) => {
            formatted(|f| Display::fmt(&error, f));
            Decoder::new(&boundary(), config())
        }
    };
    changed(&mut decoder);
    let mut input: &[u8] = bytes();
    loop {
        let mut events = Decoder::feed(&mut decoder, input);
        match Events::next(&mut events) {
            Ok(Some(event)) => _ = black_box(event),
            Ok(None) => break,
            Err(error) => formatted(|f| Display::fmt(&error, f)),
        }
        input = Events::rest(events);
        black_box((Decoder::payload_ahead(&decoder), Decoder::offset(&decoder)));
        black_box(Decoder::skip(&mut decoder, any()));
        black_box(Decoder::distrust_length(&mut decoder, any()));
        changed(&mut decoder);
    }
    black_box(Decoder::finish(&mut decoder));
    black_box(Decoder::is_closed(&decoder));
}

pub type Source = MultipartSource<Peer, Peer, 512>;

fn source() {
    let decoder = Decoder::new(&boundary(), config());
    let missing_eoi = one_of([MissingEoi::Broken, MissingEoi::Append]);
    let source: Source = MultipartSource::new(Peer, decoder, Peer);
    let mut source = MultipartSource::missing_eoi(source, missing_eoi);
    let filter = MultipartSource::repeat_filter(&source);
    source = MultipartSource::with_repeat_filter(source, filter);
    changed(&mut source);
    black_box(
        <MultipartSource<_, _, 512> as BlockingFrameSource>::capture(&mut source, bytes()).is_ok(),
    );
    black_box(<MultipartSource<_, _, 512> as BlockingFrameSource>::flow(&source));
    black_box(<MultipartSource<_, _, 512> as FrameSource>::flow(&source));
    <MultipartSource<_, _, 512> as BlockingFrameSource>::pause(&mut source);
    black_box(MultipartSource::counts(&source));
    black_box(MultipartSource::reader(&source));
    black_box(MultipartSource::into_reader(source));
}
