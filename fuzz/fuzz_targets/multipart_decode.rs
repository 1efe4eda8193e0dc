//! Any body under any configuration: however it is cut, the events are the same, and they are
//! those of the naive decoder.
#![no_main]

#[path = "../../crates/camwire-multipart/tests/common/mod.rs"]
mod common;

use arbitrary::Arbitrary;
use camwire_multipart::{Config, Decoder, Limits, Quirks, WrongLength};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    quirks: [bool; 9],
    wrong_length: u8,
    /// The usual ones if not given.
    limits: Option<(u8, u8, u8, u8, u8)>,
    boundary: u8,
    cuts: [u16; 4],
    body: &'a [u8],
}

const BOUNDARIES: [&str; 6] = ["x", "--x", "-----xy", "--", "+=(:)=+", ""];

fuzz_target!(|input: Input<'_>| {
    let [a, b, c, d, e, f, g, h, i] = input.quirks;
    let quirks = Quirks {
        lf_line_ends: a,
        missing_first_delimiter: b,
        dashed_boundary: c,
        missing_boundary: d,
        loose_boundary: e,
        loose_part_end: f,
        blank_line_before_head: g,
        junk_in_head: h,
        glued_delimiter: i,
        wrong_length: match input.wrong_length % 3 {
            0 => WrongLength::Refuse,
            1 => WrongLength::Continue,
            _ => WrongLength::Ignore,
        },
    };
    let limits = match input.limits {
        None => Limits::DEFAULT,
        Some((head, fields, part, preamble, resync)) => Limits {
            // The first field's start may be found before the limit is looked at.
            head_bytes: u32::from(head).max(8),
            head_fields: u16::from(fields),
            part_bytes: u32::from(part),
            preamble_bytes: u32::from(preamble),
            resync_bytes: u32::from(resync),
        },
    };
    let config = Config { quirks, limits };
    let boundary = BOUNDARIES[usize::from(input.boundary) % BOUNDARIES.len()];
    let value = match boundary {
        "" => "multipart/x".to_string(),
        text => format!("multipart/x;boundary={text}"),
    };
    let Ok(decoder) = Decoder::from_content_type(value.as_bytes(), config) else { return };

    let body = input.body;
    let mut cuts = input.cuts.map(|at| usize::from(at) % (body.len() + 1)).to_vec();
    cuts.extend([0, body.len()]);
    cuts.sort_unstable();
    let pieces = cuts.windows(2).map(|w| &body[w[0]..w[1]]);

    let seen = common::decode(decoder.clone(), [body], true);
    assert_eq!(common::decode(decoder.clone(), pieces, true), seen);
    assert_eq!(common::decode(decoder, body.chunks(1), true), seen);
    // It is quadratic.
    if body.len() < 2000 {
        assert_eq!(common::naive::decode(body, boundary.as_bytes(), config), seen);
    }
    // A value from outside is never too strange.
    let _ = Decoder::from_content_type(body, config);
});
