//! A decoder that has the whole body before it and looks at each byte many times.

use super::Seen;
use camwire_multipart::{
    Config, ContentType, DecodeError, DecodeErrorKind, DropReason, Dropped, PartHead, WrongLength,
};

struct Naive<'b> {
    body: &'b [u8],
    config: Config,
    /// What can stand after a line end: `--boundary`, or one that may be meant. Empty: unknown.
    delimiters: Vec<Vec<u8>>,
    seen: Vec<Seen>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Found {
    /// Nothing, up to the end of the body.
    Nothing,
    /// Something that may be a delimiter, had the body not ended: where, and if only the byte
    /// after the boundary is missing.
    Begun { at: usize, whole: bool },
    /// A delimiter, and where its line end, or what there is of one, begins.
    Delimiter { at: usize, next: usize },
    /// The closing one.
    Close { at: usize },
    /// A line that begins with two dashes, while the boundary is unknown, and where it goes on.
    Unknown { next: usize },
}

/// As `Decoder` with a boundary parameter that says `boundary`.
pub fn decode(body: &[u8], boundary: &[u8], config: Config) -> Vec<Seen> {
    let mut delimiters = vec![[b"--", boundary].concat()];
    let dashes = boundary.iter().take_while(|&&b| b == b'-').count();
    if config.quirks.dashed_boundary && dashes >= 2 && dashes < boundary.len() {
        delimiters.push(boundary.to_vec());
    }
    if boundary.is_empty() {
        delimiters.clear();
    }
    let mut naive = Naive { body, config, delimiters, seen: Vec::new() };
    if let Err(error) = naive.run() {
        naive.seen.push(Seen::Failed(error));
    }
    naive.seen
}

impl Naive<'_> {
    fn byte(&self, at: usize) -> Option<u8> {
        self.body.get(at).copied()
    }

    /// Is there a delimiter at `at`? `line` says that its line end has come before.
    fn delimiter_at(&mut self, at: usize, line: bool) -> Found {
        let ends: &[&[u8]] = match (line, self.config.quirks.lf_line_ends) {
            (true, _) => &[b""],
            (false, true) => &[b"\r\n", b"\n"],
            (false, false) => &[b"\r\n"],
        };
        let rest = &self.body[at..];
        let mut found = Found::Nothing;
        for end in ends {
            if self.delimiters.is_empty() {
                let wanted = [end, &b"--"[..]].concat();
                if rest.starts_with(&wanted) {
                    return Found::Unknown { next: at + wanted.len() };
                }
                if wanted.starts_with(rest) && !rest.is_empty() {
                    found = Found::Begun { at, whole: false };
                }
            }
            for delimiter in self.delimiters.clone() {
                let wanted = [end, &delimiter[..]].concat();
                if !rest.starts_with(&wanted) {
                    if wanted.starts_with(rest) && !rest.is_empty() {
                        found = Found::Begun { at, whole: false };
                    }
                    continue;
                }
                let next = at + wanted.len();
                match (self.byte(next), self.byte(next + 1)) {
                    (None, _) | (Some(b'-'), None) => found = Found::Begun { at, whole: true },
                    (Some(b'-'), Some(b'-')) => {
                        self.delimiters = vec![delimiter];
                        return Found::Close { at };
                    }
                    (Some(b'\n'), _) if !self.config.quirks.lf_line_ends => {}
                    (Some(b'C' | b'c'), _) if !self.config.quirks.glued_delimiter => {}
                    (Some(b' ' | b'\t' | b'\r' | b'\n' | b'C' | b'c'), _) => {
                        self.delimiters = vec![delimiter];
                        return Found::Delimiter { at, next };
                    }
                    _ => {}
                }
            }
        }
        found
    }

    /// The first delimiter from `from` on.
    fn find(&mut self, from: usize, line: bool) -> Found {
        if line {
            let found = self.delimiter_at(from, true);
            if found != Found::Nothing {
                return found;
            }
        }
        for at in from..self.body.len() {
            let glued =
                self.config.quirks.glued_delimiter && at > from && self.body[at - 1] == 0xD9;
            let found = self.delimiter_at(at, glued);
            if found != Found::Nothing {
                return found;
            }
            let found = self.delimiter_at(at, false);
            if found != Found::Nothing {
                return found;
            }
        }
        Found::Nothing
    }

    fn drop(&mut self, reason: DropReason, at: usize) {
        self.seen.push(Seen::Dropped(Dropped { reason, offset: at as u64 }));
    }

    fn run(&mut self) -> Result<(), DecodeError> {
        let sniffing = self.config.quirks.missing_first_delimiter && !self.delimiters.is_empty();
        let mut at = 0;
        if sniffing {
            while matches!(self.byte(at), Some(b'\r' | b'\n')) {
                at += 1;
            }
            let limit = self.config.limits.preamble_bytes;
            if at > limit as usize {
                let kind = DecodeErrorKind::PreambleTooLong { limit };
                return Err(DecodeError { kind, offset: u64::from(limit) });
            }
            if self.ends_while_unclear(at) {
                return Ok(());
            }
            if self.starts_like_field(at) {
                return self.head(at, 0);
            }
            if self.body[at..].starts_with(&[0xFF, 0xD8]) {
                return self.scanned(at, at, None, false);
            }
        }
        self.search(0, true, at, true)
    }

    fn starts_like_field(&self, at: usize) -> bool {
        self.body.get(at..at + 8).is_some_and(|b| b.eq_ignore_ascii_case(b"content-"))
    }

    /// It may have become a head or a picture.
    fn ends_while_unclear(&self, at: usize) -> bool {
        let rest = &self.body[at..];
        let field = rest.len() < 8 && rest.eq_ignore_ascii_case(&b"content-"[..rest.len()]);
        field || rest == [0xFF]
    }

    /// Looks for a delimiter from `at` on; what comes before counts from `base`.
    fn search(
        &mut self,
        base: usize,
        preamble: bool,
        at: usize,
        line: bool,
    ) -> Result<(), DecodeError> {
        let limits = self.config.limits;
        let (limit, kind) = if preamble {
            let limit = limits.preamble_bytes;
            (limit, DecodeErrorKind::PreambleTooLong { limit })
        } else {
            let limit = limits.resync_bytes;
            (limit, DecodeErrorKind::ResyncTooLong { limit })
        };
        let check = |end: usize| {
            if end - base > limit as usize {
                let offset = base as u64 + u64::from(limit);
                return Err(DecodeError { kind, offset });
            }
            Ok(())
        };
        match self.find(at, line) {
            Found::Nothing => check(self.body.len()),
            Found::Begun { at, .. } => check(at),
            Found::Delimiter { at, next } => {
                check(at)?;
                self.padding(next)
            }
            Found::Close { at } => {
                check(at)?;
                self.seen.push(Seen::BodyEnd);
                Ok(())
            }
            Found::Unknown { next } => {
                check(next)?;
                let end = self.body[next..].iter().position(|&b| b == b'\n');
                let Some(end) = end else { return check(self.body.len()) };
                check(next + end + 1)?;
                let name = self.body[next..next + end].trim_ascii_end();
                let valid = |b: &u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(b);
                if (1..=70).contains(&name.len()) && name.iter().all(valid) && end <= 128 {
                    self.delimiters = vec![[b"--", name].concat()];
                    return self.head(next + end + 1, 0);
                }
                self.search(base, preamble, next + end + 1, true)
            }
        }
    }

    fn padding(&mut self, at: usize) -> Result<(), DecodeError> {
        if matches!(self.byte(at), Some(b'C' | b'c')) {
            return self.head(at, 0);
        }
        let limit = self.config.limits.head_bytes as usize;
        match self.body[at..].iter().position(|&b| b == b'\n') {
            Some(end) if end < limit => self.head(at + end + 1, end + 1),
            None if self.body.len() - at <= limit => Ok(()),
            _ => {
                self.drop(DropReason::HeadTooLong { limit: limit as u32 }, at + limit);
                self.search(at + limit, false, at + limit, false)
            }
        }
    }

    /// A head begins, and `spent` bytes of its limit are gone.
    fn head(&mut self, mut at: usize, mut spent: usize) -> Result<(), DecodeError> {
        let Config { quirks, limits } = self.config;
        let mut head = PartHead::default();
        let mut content_type = ContentType::Unknown;
        let (mut fields, mut bad_length, mut junk) = (0, false, false);
        loop {
            let limit = limits.head_bytes as usize;
            let end = self.body[at..].iter().position(|&b| b == b'\n');
            let wanted = end.map_or(self.body.len() - at, |end| end + 1);
            if spent + wanted > limit {
                let at = at + limit - spent;
                self.drop(DropReason::HeadTooLong { limit: limit as u32 }, at);
                return self.search(at, false, at, false);
            }
            let Some(end) = end else {
                if fields > 0 {
                    self.drop(DropReason::Truncated, self.body.len());
                }
                return Ok(());
            };
            spent += wanted;
            let whole = &self.body[at..at + end];
            at += wanted;
            let cut = whole.len() > 128;
            let line = match whole {
                _ if cut => &whole[..128],
                [line @ .., b'\r'] => line,
                _ if !quirks.lf_line_ends => {
                    self.drop(DropReason::BadHead, at);
                    return self.search(at, false, at, true);
                }
                line => line,
            };
            if line.is_empty() {
                break;
            }
            let as_delimiter = [line, b"\r"].concat();
            let mut of_line = Naive {
                body: &as_delimiter,
                config: self.config,
                delimiters: self.delimiters.clone(),
                seen: Vec::new(),
            };
            let found = of_line.delimiter_at(0, true);
            if let Found::Delimiter { .. } | Found::Close { .. } = found {
                self.delimiters = of_line.delimiters;
                if fields > 0 {
                    self.drop(DropReason::HeadUnfinished, at);
                }
                if let Found::Close { .. } = found {
                    self.seen.push(Seen::BodyEnd);
                    return Ok(());
                }
                return self.head(at, 0);
            }
            if fields == limits.head_fields {
                self.drop(DropReason::TooManyFields { limit: fields }, at);
                return self.search(at, false, at, true);
            }
            fields += 1;
            if line[0] == b' ' || line[0] == b'\t' {
                continue;
            }
            let text: String = line.iter().map(|&b| char::from(b)).collect();
            let Some((name, value)) = text.split_once(':') else {
                junk = true;
                continue;
            };
            let untrimmed = name;
            let name = untrimmed.trim_end_matches([' ', '\t', '\r', '\n', '\x0C']);
            junk |= name != untrimmed;
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_graphic()) {
                junk = true;
                continue;
            }
            let value = value.trim_matches([' ', '\t', '\r', '\n', '\x0C']);
            let digits = |v: &str| !v.is_empty() && v.bytes().all(|b| b.is_ascii_digit());
            let number = |v: &str| v.parse::<u64>().ok().filter(|_| digits(v) && !cut);
            match &*name.to_ascii_lowercase() {
                "content-type" => {
                    let media = value.split(';').next().unwrap().to_ascii_lowercase();
                    let media = media.trim_matches([' ', '\t', '\r', '\n', '\x0C']);
                    content_type = match media {
                        "image/jpeg" | "image/jpg" | "image/pjpeg" => ContentType::Jpeg,
                        _ if media.starts_with("text/") || media.starts_with("audio") => {
                            ContentType::Other
                        }
                        _ => ContentType::Unknown,
                    };
                }
                "content-length" => {
                    let length =
                        (digits(value) && !cut).then(|| value.parse::<u64>().unwrap_or(u64::MAX));
                    bad_length |= length.is_none();
                    bad_length |= head.content_length.is_some_and(|n| Some(n) != length);
                    head.content_length = length;
                }
                "x-frame" if !cut => head.sequence = number(value),
                "x-missed" if !cut => head.missed = number(value),
                "x-timestamp" if !cut => {
                    let (whole, decimals) = value.split_once('.').unwrap_or((value, "0"));
                    let micros = std::format!("{decimals}000000")[..].get(..6).map(String::from);
                    head.timestamp_us = (|| {
                        let micros = micros.filter(|_| digits(decimals))?;
                        let whole = number(whole)?.checked_mul(1_000_000)?;
                        whole.checked_add(micros.parse().ok()?)
                    })();
                }
                _ => {}
            }
        }
        if bad_length && quirks.wrong_length != WrongLength::Refuse {
            head.content_length = None;
        }
        let reason = if fields == 0 {
            let mut at = at;
            if quirks.blank_line_before_head {
                while matches!(self.byte(at), Some(b'\r' | b'\n')) {
                    if spent >= limits.head_bytes as usize {
                        self.drop(DropReason::HeadTooLong { limit: limits.head_bytes }, at + 1);
                        return self.search(at + 1, false, at + 1, false);
                    }
                    at += 1;
                    spent += 1;
                }
                if self.ends_while_unclear(at) {
                    return Ok(());
                }
                if self.starts_like_field(at) {
                    return self.head(at, 0);
                }
            }
            return self.scanned(at, at, None, true);
        } else if junk && !quirks.junk_in_head {
            Some(DropReason::BadHead)
        } else if bad_length && quirks.wrong_length == WrongLength::Refuse {
            Some(DropReason::BadLength)
        } else {
            head.content_length
                .filter(|&needed| {
                    needed > u64::from(limits.part_bytes)
                        && quirks.wrong_length == WrongLength::Refuse
                })
                .map(|needed| DropReason::TooLarge { needed, limit: limits.part_bytes })
        };
        if let Some(reason) = reason {
            self.drop(reason, at);
            return self.search(at, false, at, true);
        }
        let believed = |length: &u64| match quirks.wrong_length {
            WrongLength::Ignore => false,
            WrongLength::Continue => *length <= u64::from(limits.part_bytes),
            _ => true,
        };
        match head.content_length.filter(believed) {
            Some(length) => {
                self.seen.push(Seen::Start(head, content_type));
                self.counted(at, length)
            }
            None => self.scanned(at, at, Some((head, content_type)), true),
        }
    }

    fn payload(&mut self, from: usize, to: usize) {
        if from < to {
            self.seen.push(Seen::Payload(self.body[from..to].to_vec()));
        }
    }

    fn counted(&mut self, at: usize, declared: u64) -> Result<(), DecodeError> {
        if (self.body.len() - at) as u64 <= declared {
            self.payload(at, self.body.len());
            let whole = (self.body.len() - at) as u64 == declared;
            match whole {
                true => self.seen.push(Seen::End),
                false => self.drop(DropReason::Truncated, self.body.len()),
            }
            return Ok(());
        }
        let start = at;
        let end = at + declared as usize;
        let mut at = end;
        let loose = self.config.quirks.loose_part_end;
        if loose {
            while matches!(self.byte(at), Some(b'\r' | b'\n')) && at - end < 16 {
                at += 1;
            }
        }
        if at == self.body.len() {
            self.payload(start, end);
            self.seen.push(Seen::End);
            return Ok(());
        }
        // With the line end gone; a strict reader needs exactly the one.
        let found = self.delimiter_at(at, loose);
        if found != Found::Nothing || self.config.quirks.wrong_length != WrongLength::Continue {
            self.payload(start, end);
        }
        match found {
            Found::Delimiter { next, .. } => {
                self.seen.push(Seen::End);
                self.padding(next)
            }
            Found::Close { .. } => {
                self.seen.push(Seen::End);
                self.seen.push(Seen::BodyEnd);
                Ok(())
            }
            Found::Begun { .. } => {
                self.seen.push(Seen::End);
                Ok(())
            }
            Found::Nothing | Found::Unknown { .. } => {
                // The place is the byte that is no delimiter any more.
                let mut length = 0;
                while !matches!(
                    Naive {
                        body: &self.body[..at + length + 1],
                        config: self.config,
                        delimiters: self.delimiters.clone(),
                        seen: Vec::new(),
                    }
                    .delimiter_at(at, loose),
                    Found::Nothing
                ) {
                    length += 1;
                }
                let at = at + length;
                if self.config.quirks.wrong_length == WrongLength::Continue {
                    return self.scanned_on(start, at);
                }
                let kind = DecodeErrorKind::LengthMismatch { declared };
                Err(DecodeError { kind, offset: at as u64 })
            }
        }
    }

    /// A part, which has been told, whose length was too small. All before `at` is payload.
    fn scanned_on(&mut self, from: usize, at: usize) -> Result<(), DecodeError> {
        let started = self.seen.pop();
        let Some(Seen::Start(head, content_type)) = started else { unreachable!() };
        self.scanned(from, at, Some((head, content_type)), false)
    }

    /// A part from `from` on, which ends at the first delimiter from `search` on.
    fn scanned(
        &mut self,
        from: usize,
        search: usize,
        head: Option<(PartHead, ContentType)>,
        line: bool,
    ) -> Result<(), DecodeError> {
        let found = self.find(search, line);
        let end = match found {
            Found::Nothing => self.body.len(),
            Found::Begun { at, .. } | Found::Delimiter { at, .. } | Found::Close { at } => at,
            Found::Unknown { .. } => unreachable!(),
        };
        if let Some((head, content_type)) = head {
            self.seen.push(Seen::Start(head, content_type));
        } else if from < end {
            self.seen.push(Seen::Start(PartHead::default(), ContentType::Unknown));
        }
        let announced = head.is_some() || from < end;
        let limit = self.config.limits.part_bytes;
        if end - from > limit as usize {
            let at = from + limit as usize;
            self.payload(from, at);
            self.drop(DropReason::TooLarge { needed: u64::from(limit) + 1, limit }, at);
            return self.search(at, false, at, false);
        }
        self.payload(from, end);
        match found {
            Found::Delimiter { next, .. } => {
                self.seen.extend(announced.then_some(Seen::End));
                self.padding(next)
            }
            Found::Close { .. } => {
                self.seen.extend(announced.then_some(Seen::End));
                self.seen.push(Seen::BodyEnd);
                Ok(())
            }
            Found::Begun { whole: true, .. } => {
                self.seen.extend(announced.then_some(Seen::End));
                Ok(())
            }
            _ => {
                if announced {
                    self.drop(DropReason::Truncated, self.body.len());
                }
                Ok(())
            }
        }
    }
}
