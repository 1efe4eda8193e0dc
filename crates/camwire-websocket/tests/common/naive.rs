//! RFC 6455, section 5, over bytes that are all there, in the order in which they come.

use super::{Seen, add};
use camwire_websocket::{DecodeErrorKind as Kind_, Fin, Kind};

/// What there is to tell, and what is wrong at the end of it.
pub(crate) fn decode(bytes: &[u8], peer_masks: bool, limit: u64) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut at = 0;
    if let Err(Stop::Wrong(kind, offset)) = frames(bytes, peer_masks, limit, &mut at, &mut seen) {
        seen.push(Seen::Failed(kind, offset as u64));
    }
    seen
}

enum Stop {
    /// There are no more bytes, or nothing counts any more.
    End,
    /// The byte there is the first that is wrong.
    Wrong(Kind_, usize),
}

fn frames(
    bytes: &[u8],
    peer_masks: bool,
    limit: u64,
    at: &mut usize,
    seen: &mut Vec<Seen>,
) -> Result<(), Stop> {
    // The message under way, how many bytes it has, and those of the character under way.
    let mut message: Option<(Kind, u64, Vec<u8>)> = None;
    loop {
        let start = *at;
        let first = next(bytes, at)?;
        let wrong = |kind| Err(Stop::Wrong(kind, start));
        if first & 0b0111_0000 != 0 {
            return wrong(Kind_::ReservedBits);
        }
        let (fin, opcode) = (first & 0x80 != 0, first & 0x0F);
        match opcode {
            0 if message.is_none() => return wrong(Kind_::NothingToContinue),
            1 | 2 if message.is_some() => return wrong(Kind_::MessageUnfinished),
            8..=10 if !fin => return wrong(Kind_::ControlFragmented),
            0..=2 | 8..=10 => {}
            _ => return wrong(Kind_::ReservedOpcode { opcode }),
        }
        match opcode {
            1 => message = Some((Kind::Text, 0, Vec::new())),
            2 => message = Some((Kind::Binary, 0, Vec::new())),
            _ => {}
        }

        let second = next(bytes, at)?;
        let wrong = |kind| Err(Stop::Wrong(kind, start + 1));
        match (second & 0x80 != 0, peer_masks) {
            (true, false) => return wrong(Kind_::Masked),
            (false, true) => return wrong(Kind_::NotMasked),
            _ => {}
        }
        let short = second & 0x7F;
        if opcode >= 8 && short > 125 {
            return wrong(Kind_::ControlTooLong);
        }
        let size = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mut length = u64::from(short);
        if size > 0 {
            length = 0;
            for _ in 0..size {
                length = length << 8 | u64::from(next(bytes, at)?);
            }
        }
        let wrong = |kind, at: usize| Err(Stop::Wrong(kind, at - 1));
        if length >> 63 == 1 {
            return wrong(Kind_::LengthTopBit, *at);
        }
        if size == 2 && length < 126 || size == 8 && length < 65536 {
            return wrong(Kind_::LengthNotShortest, *at);
        }
        if opcode < 8 {
            let before = message.as_ref().map_or(0, |(_, size, _)| *size);
            let declared = before + length;
            if declared > limit {
                return wrong(Kind_::MessageTooBig { declared, limit }, *at);
            }
        }
        let mut key = [0; 4];
        if peer_masks {
            for byte in &mut key {
                *byte = next(bytes, at)?;
            }
        }

        let mut control = Vec::new();
        for i in 0..length {
            let start = *at;
            let byte = next(bytes, at)? ^ key[i as usize % 4];
            if opcode >= 8 {
                control.push(byte);
                continue;
            }
            let (kind, size, character) = message.as_mut().expect("a message");
            *size += 1;
            if *kind == Kind::Text {
                character.push(byte);
                match str::from_utf8(character) {
                    Ok(_) => character.clear(),
                    // More bytes could make it one.
                    Err(error) if error.error_len().is_none() => {}
                    Err(_) => return Err(Stop::Wrong(Kind_::InvalidUtf8, start)),
                }
            }
            add(seen, Seen::Data(*kind, vec![byte], Fin::More));
        }

        match opcode {
            8 => {
                seen.push(Seen::Close(close(&control).map_err(|kind| Stop::Wrong(kind, *at))?));
                return Err(Stop::End);
            }
            9 => seen.push(Seen::Ping(control)),
            10 => seen.push(Seen::Pong(control)),
            _ if fin => {
                let (kind, _, character) = message.take().expect("a message");
                if !character.is_empty() {
                    return Err(Stop::Wrong(Kind_::InvalidUtf8, *at));
                }
                add(seen, Seen::Data(kind, Vec::new(), Fin::Last));
            }
            _ => {}
        }
    }
}

fn next(bytes: &[u8], at: &mut usize) -> Result<u8, Stop> {
    let byte = *bytes.get(*at).ok_or(Stop::End)?;
    *at += 1;
    Ok(byte)
}

fn close(payload: &[u8]) -> Result<Option<(u16, String)>, Kind_> {
    match payload {
        [] => Ok(None),
        [_] => Err(Kind_::CloseLength),
        [a, b, reason @ ..] => {
            let code = u16::from(*a) << 8 | u16::from(*b);
            let reserved = [1004, 1005, 1006, 1015].contains(&code);
            if reserved || !matches!(code, 1000..=1015 | 3000..=4999) {
                return Err(Kind_::CloseCode { code });
            }
            let reason = String::from_utf8(reason.to_vec()).map_err(|_| Kind_::InvalidUtf8)?;
            Ok(Some((code, reason)))
        }
    }
}
