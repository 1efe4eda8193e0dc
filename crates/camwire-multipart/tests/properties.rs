//! Random bodies, random configurations, random cuts.

mod common;

use camwire_multipart::{
    Boundary, Config, ContentType, Decoder, Encoder, Event, Limits, PartHead, Quirks, WrongLength,
};
use common::{Seen, decode, naive, pictures};
use proptest::prelude::*;

/// Bytes that are likely to be confused.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let texts: Vec<&'static [u8]> = vec![
        b"\r\n",
        b"\n",
        b"\r",
        b"-",
        b"--",
        b"--x",
        b"--x--",
        b"----x",
        b"x",
        b"\r\n--x\r\n",
        b"\r\n--x--\r\n",
        b"\r\n----x\r\n",
        b"\r\n--y\r\n",
        b" ",
        b"\t",
        b"Content-Length: 3\r\n",
        b"Content-Length: 7\r\n\r\n",
        b"content-",
        b"Content-Length: 3\r\n\r\nabc\r\n--x\r\n",
        b"Content-Type: image/jpeg\r\n",
        b"Content-Type: text/x\r\n",
        b"Content-Type: x\r\n",
        b"A: b\r\n\r\n",
        b"\r\n\r\n",
        b"X-Frame: 1\r\n",
        b":",
        b"Content-Length: x\r\n",
        b"Content-Length : 3\r\n",
        b"\xFF",
        b"\xFF\xD8",
        b"\xFF\xD9",
        b"\xD9--x",
        b"--xContent-",
        b"\xD9-",
        b"--x\r\n\r\n",
        b"--x\r\nA: b\r\n\r\n",
        b" folded\r\n",
        b"Content-Length: 18446744073709551616\r\n",
    ];
    prop_oneof![
        8 => proptest::sample::select(texts).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 0..6),
    ]
}

fn config() -> impl Strategy<Value = Config> {
    let flags = any::<[bool; 9]>();
    let length = prop_oneof![
        Just(WrongLength::Refuse),
        Just(WrongLength::Continue),
        Just(WrongLength::Ignore),
    ];
    let limits = (8u32..60, 0u16..5, 0u32..30, 0u32..40, 0u32..60);
    let limits = prop_oneof![
        2 => Just(Limits::DEFAULT),
        1 => limits.prop_map(|(head_bytes, head_fields, part_bytes, preamble_bytes, resync_bytes)| {
            Limits { head_bytes, head_fields, part_bytes, preamble_bytes, resync_bytes }
        }),
    ];
    let random = (flags, length, limits).prop_map(|(flags, wrong_length, limits)| {
        let [a, b, c, d, e, f, g, h, i] = flags;
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
            wrong_length,
        };
        Config { quirks, limits }
    });
    prop_oneof![Just(Config::default()), Just(Config::strict()), random]
}

/// `body` cut at these places.
fn cut<'b>(body: &'b [u8], at: &[usize]) -> Vec<&'b [u8]> {
    let mut at: Vec<_> = at.iter().map(|at| at % (body.len() + 1)).collect();
    at.extend([0, body.len()]);
    at.sort_unstable();
    at.windows(2).map(|w| &body[w[0]..w[1]]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn like_the_naive_decoder_however_cut(
        fragments in proptest::collection::vec(fragment(), 0..25),
        config in config(),
        boundary in proptest::sample::select(vec!["x", "--x", "----x", "--", "-x", ""]),
        cuts in proptest::collection::vec(any::<usize>(), 0..8),
    ) {
        let body = fragments.concat();
        let value = format!("multipart/x-mixed-replace;boundary={boundary}");
        let value = if boundary.is_empty() { "multipart/x-mixed-replace" } else { &value };
        if let Ok(decoder) = Decoder::from_content_type(value.as_bytes(), config) {
            let seen = decode(decoder.clone(), [&body[..]], true);
            prop_assert_eq!(&decode(decoder.clone(), body.chunks(1), true), &seen);
            prop_assert_eq!(&decode(decoder, cut(&body, &cuts), true), &seen);
            prop_assert_eq!(naive::decode(&body, boundary.as_bytes(), config), seen);
        }
    }

    #[test]
    fn what_the_encoder_writes_comes_back(
        parts in proptest::collection::vec((
            proptest::collection::vec(fragment(), 0..10),
            any::<(bool, Option<u64>, Option<u64>, Option<u64>)>(),
        ), 0..6),
        text in "[0-9A-Za-z'()+_,./:=?-]{1,70}",
        random in any::<Option<[u8; 16]>>(),
        config in prop_oneof![Just(Config::default()), Just(Config::strict())],
        cuts in proptest::collection::vec(any::<usize>(), 0..8),
        ends in 0..3,
    ) {
        let encoder = match random {
            Some(random) => Encoder::new(random),
            None => Encoder::with_predictable_boundary(&Boundary::new(&text).unwrap()),
        };
        let mut body = encoder.opening().to_vec();
        let mut expected = Vec::new();
        for (n, (payload, (with_length, timestamp_us, sequence, missed))) in parts.iter().enumerate() {
            let payload = payload.concat();
            // A part without a length must not hold its delimiter.
            let delimiter = encoder.tail().trim_ascii_end().strip_prefix(b"\r").unwrap();
            let inside = [b"\n", &payload[..]].concat();
            let holds = inside.windows(delimiter.len()).any(|w| w == delimiter);
            let with_length = *with_length || holds;
            let head = PartHead {
                content_length: with_length.then_some(payload.len() as u64),
                timestamp_us: *timestamp_us,
                sequence: *sequence,
                missed: *missed,
            };
            body.extend_from_slice(head.encode(&mut [0; PartHead::MAX_LEN]));
            body.extend_from_slice(&payload);
            let last = n + 1 == parts.len();
            if last && ends == 0 {
                body.extend(encoder.closing().concat());
            } else {
                body.extend_from_slice(encoder.tail());
            }
            expected.push((head, payload));
        }
        if ends == 1 {
            body.extend(encoder.closing().concat());
        }
        let content_type = encoder.content_type();
        let decoder = Decoder::from_content_type(content_type.as_bytes(), config).unwrap();
        let seen = decode(decoder, cut(&body, &cuts), true);
        let closed = ends == 1 || ends == 0 && !parts.is_empty();
        prop_assert_eq!(seen.last() == Some(&Seen::BodyEnd), closed);
        let heads: Vec<_> = seen.iter().filter_map(|event| match event {
            Seen::Start(head, ContentType::Jpeg) => Some(*head),
            _ => None,
        }).collect();
        prop_assert_eq!(heads, expected.iter().map(|(head, _)| *head).collect::<Vec<_>>());
        let payloads: Vec<_> = expected.into_iter().map(|(_, payload)| payload).collect();
        prop_assert_eq!(pictures(&seen), payloads);
    }

    /// From the start of a part on; or from its end, when some of what came behind was taken for
    /// payload.
    #[test]
    fn distrusted_lengths_do_not_matter(
        parts in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 1..40), 1u64..100, any::<bool>()),
            1..6,
        ),
        cuts in proptest::collection::vec(any::<usize>(), 0..8),
    ) {
        let boundary = Boundary::new("frame").unwrap();
        let encoder = Encoder::with_predictable_boundary(&boundary);
        let mut body = encoder.opening().to_vec();
        let mut payloads = Vec::new();
        for (payload, length, at_end) in &parts {
            // No delimiter, and no half of one at its end.
            let payload: Vec<u8> = payload.iter().map(|b| b | 0x40).collect();
            let length = if *at_end { payload.len() as u64 + length } else { *length };
            let head = PartHead { content_length: Some(length), ..PartHead::default() };
            body.extend_from_slice(head.encode(&mut [0; PartHead::MAX_LEN]));
            body.extend_from_slice(&payload);
            body.extend_from_slice(encoder.tail());
            payloads.push((payload, *at_end));
        }
        let mut decoder = Decoder::new(&boundary, Config::default());
        let (mut found, mut taken) = (Vec::new(), Vec::new());
        // Bytes that are decoded again come before those that are still to come.
        let mut rest: Vec<&[u8]> = cut(&body, &cuts);
        rest.reverse();
        while let Some(mut piece) = rest.pop() {
            loop {
                let mut events = decoder.feed(piece);
                let Some(event) = events.next().unwrap() else { break };
                match event {
                    Event::PartStart { .. } => taken.clear(),
                    Event::Payload(bytes) => taken.extend_from_slice(bytes),
                    Event::PartEnd => found.push(taken.clone()),
                    other => prop_assert!(false, "{:?}", other),
                }
                piece = events.rest();
                let Some((payload, at_end)) = payloads.get(found.len()) else { continue };
                let again = taken.len().saturating_sub(payload.len());
                if (!at_end || taken.len() >= payload.len()) && decoder.distrust_length(again) {
                    rest.push(piece);
                    piece = taken.split_off(taken.len() - again).leak();
                }
            }
        }
        prop_assert_eq!(found, payloads.into_iter().map(|(payload, _)| payload).collect::<Vec<_>>());
        prop_assert_eq!(decoder.offset(), body.len() as u64);
    }

    #[test]
    fn any_content_type(value in proptest::collection::vec(any::<u8>(), 0..80)) {
        let value = [&b"multipart/;boundary="[..], &value].concat();
        let _ = Decoder::from_content_type(&value, Config::default());
    }
}
