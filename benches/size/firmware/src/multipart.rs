use crate::surroundings::{AnyClock, AnyConnection, opaque, run};
use camwire_frame::FrameSource;
use camwire_multipart::{Config, Decoder, Encoder, MultipartSource, PartHead};

/// Everything that a server needs, with a boundary that is made at run time.
pub fn encode() {
    let encoder = Encoder::new(opaque([0; 16]));
    let encoder = opaque(&encoder);
    opaque(opaque(encoder.content_type()).as_str());
    opaque((encoder.opening(), encoder.tail(), encoder.closing()));
    opaque((encoder.advance_opening(), encoder.advance_tail()));
    opaque(opaque(PartHead::default()).encode(&mut [0; PartHead::MAX_LEN]));
}

/// Everything that a viewer needs.
pub fn decode() {
    let Some(mut decoder) = decoder() else { return };
    let mut events = decoder.feed(opaque::<&[u8]>(&[]));
    while let Ok(Some(event)) = events.next() {
        opaque(event);
    }
    opaque((decoder.payload_ahead(), decoder.skip(opaque(1))));
    opaque((decoder.finish(), decoder.is_closed(), decoder.offset()));
}

fn decoder() -> Option<Decoder> {
    let config = opaque(Config::default());
    Decoder::from_content_type(opaque(b""), config).ok()
}

/// Another server's stream as a camera.
pub fn capture() {
    let Some(decoder) = decoder() else { return };
    let mut source = MultipartSource::<_, _, 1024>::new(AnyConnection, decoder, AnyClock);
    let _ = opaque(run(source.capture(opaque(&mut []))));
    opaque(source.counts());
}
