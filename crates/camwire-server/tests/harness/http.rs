//! Answers, taken apart by eyes that forgive nothing.

use camwire_multipart::{Config, Decoder, Event, PartHead};

use super::camera::picture;

/// A whole answer, or the beginning of one without end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub reason: String,
    pub fields: Vec<(String, String)>,
    pub head_len: usize,
    pub body: Vec<u8>,
}

impl Response {
    /// Takes `answer` apart; panics if its head is not complete and well-formed.
    pub fn parse(answer: &[u8]) -> Self {
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no end of the head: {}", lossy(answer)));
        let head = std::str::from_utf8(&answer[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status_line = lines.next().unwrap();
        let rest = status_line.strip_prefix("HTTP/1.1 ").expect(status_line);
        let (status, reason) = rest.split_once(' ').expect(status_line);
        let fields = lines.map(|line| {
            assert!(!line.contains(['\r', '\n']), "{line:?}");
            let (name, value) = line.split_once(": ").expect(line);
            assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "{line:?}");
            assert_eq!(value, value.trim());
            (name.to_owned(), value.to_owned())
        });
        let response = Self {
            status: status.parse().unwrap(),
            reason: reason.to_owned(),
            fields: fields.collect(),
            head_len: end + 4,
            body: answer[end + 4..].to_vec(),
        };
        for (n, (name, _)) in response.fields.iter().enumerate() {
            let again = response.fields[n + 1..].iter().any(|(b, _)| b.eq_ignore_ascii_case(name));
            assert!(!again, "{name} twice");
        }
        response
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        let field = self.fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        field.map(|(_, value)| value.as_str())
    }

    pub fn number(&self, name: &str) -> u64 {
        self.field(name).expect(name).parse().expect(name)
    }

    /// `X-Timestamp` in microseconds.
    pub fn timestamp_us(&self) -> u64 {
        let (seconds, micros) = self.field("X-Timestamp").unwrap().split_once('.').unwrap();
        assert_eq!(micros.len(), 6);
        seconds.parse::<u64>().unwrap() * 1_000_000 + micros.parse::<u64>().unwrap()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// What separates the frames of a stream.
    pub fn boundary(&self) -> String {
        boundary(self.field("Content-Type").unwrap())
    }

    /// The stream in the body, so far.
    pub fn stream(&self) -> Stream {
        let content_type = self.field("Content-Type").unwrap();
        Stream::parse(content_type, &self.body)
    }
}

/// The boundary in a `Content-Type`, which is the first parameter, and letters and digits.
pub fn boundary(content_type: &str) -> String {
    let boundary = content_type.strip_prefix("multipart/x-mixed-replace;boundary=");
    let boundary = boundary.unwrap_or_else(|| panic!("{content_type}"));
    assert!(boundary.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{content_type}");
    boundary.to_owned()
}

/// The policy of an answer that may have sent only a part of its head yet, or be none: of a
/// WebSocket, or of a server that has not answered. Each answer has one.
pub fn policy(answer: &[u8]) -> Option<String> {
    let answer = lossy(answer);
    let answer = answer.strip_prefix("HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(&answer);
    let (head, _) =
        answer.split_once("\r\n\r\n").filter(|(head, _)| head.starts_with("HTTP/1.1 "))?;
    if head.starts_with("HTTP/1.1 101 ") {
        return None;
    }
    let mut policies = head.lines().filter_map(|l| l.strip_prefix("Content-Security-Policy: "));
    let policy = policies.next().unwrap_or_else(|| panic!("no policy: {head}"));
    assert_eq!(policies.next(), None, "{head}");
    Some(policy.to_owned())
}

/// One picture of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub head: PartHead,
    pub picture: Vec<u8>,
}

impl Part {
    pub fn number(&self) -> u64 {
        self.head.sequence.unwrap()
    }

    pub fn missed(&self) -> u64 {
        self.head.missed.unwrap()
    }

    /// The picture is whole, and nothing of another one is in it. Says which one the camera drew.
    pub fn check_drawing(&self) -> u64 {
        let drawn = *self.picture.first_chunk().expect("it is long enough to have a number");
        let drawn = u64::from_be_bytes(drawn);
        assert!(self.picture == picture(self.picture.len(), drawn), "{:?} is torn", self.head);
        drawn
    }
}

/// A stream, so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// The pictures that are whole.
    pub parts: Vec<Part>,
    /// The closing delimiter has come.
    pub closed: bool,
    /// A part has begun and not ended.
    pub torn: bool,
}

impl Stream {
    pub fn parse(content_type: &str, body: &[u8]) -> Self {
        let mut decoder =
            Decoder::from_content_type(content_type.as_bytes(), Config::strict()).unwrap();
        let mut stream = Self::default();
        let mut part = None;
        let mut events = decoder.feed(body);
        while let Some(event) = events.next().unwrap() {
            match event {
                Event::PartStart { head, .. } => {
                    part = Some(Part { head, picture: Vec::new() });
                }
                Event::Payload(bytes) => {
                    part.as_mut().unwrap().picture.extend_from_slice(bytes);
                }
                Event::PartEnd => stream.parts.extend(part.take()),
                Event::PartDropped(dropped) => panic!("{dropped}"),
                Event::BodyEnd => stream.closed = true,
            }
        }
        stream.torn = part.is_some();
        stream
    }

    pub fn numbers(&self) -> Vec<u64> {
        self.parts.iter().map(Part::number).collect()
    }

    /// Without those that were sent again.
    pub fn distinct(&self) -> Vec<&Part> {
        let mut distinct: Vec<&Part> = Vec::new();
        for part in &self.parts {
            if distinct.last().is_none_or(|last| last.number() != part.number()) {
                distinct.push(part);
            }
        }
        distinct
    }

    /// What holds for every stream whose rate is not capped: numbers rise, X-Missed is exactly
    /// the gap before, and what is sent again has the same number and missed none.
    pub fn check_numbers(&self) {
        for pair in self.parts.windows(2) {
            let [before, after] = pair else { unreachable!() };
            let step = after.number().checked_sub(before.number()).expect("numbers rise");
            assert_eq!(after.missed(), step.saturating_sub(1), "at {}", after.number());
            if step == 0 {
                assert!(after.picture == before.picture);
                assert_eq!(after.head.timestamp_us, before.head.timestamp_us);
            }
        }
        assert_eq!(self.parts.first().map_or(0, Part::missed), 0);
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
