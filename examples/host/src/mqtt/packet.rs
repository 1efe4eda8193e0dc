//! MQTT 5.0 and 3.1.1 as far as quality of service 0 goes: packets out of and into bytes. No socket
//! and no clock.
//!
//! No client on crates.io does what frames need of it. The living fork of rumqttc (0.34) has a crate
//! for each version of MQTT and adds 18 packages to this program; it queues each frame, and like the
//! others it ends the connection when a message is larger than its limit, and does not say on which
//! topic it was: a retained one ends every connection. What quality of service 0 needs is this file.

/// A version of MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V311,
    V5,
}

/// What a client says first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connect<'a> {
    pub(crate) version: Version,
    pub(crate) client_id: &'a str,
    /// Seconds of silence after which the broker is to close the connection.
    pub(crate) keep_alive: u16,
    /// User and password.
    pub(crate) login: Option<(&'a str, &'a str)>,
    /// Topic and payload of the last will, which is retained.
    pub(crate) will: Option<(&'a str, &'a [u8])>,
}

impl Connect<'_> {
    /// The packet. Sessions are clean: what was for a former connection is of no use.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        text(&mut body, "MQTT");
        let mut flags = 0b10;
        flags |= if self.will.is_some() { 0b10_0100 } else { 0 };
        flags |= if self.login.is_some() { 0b1100_0000 } else { 0 };
        body.extend([if self.version == Version::V5 { 5 } else { 4 }, flags]);
        body.extend(self.keep_alive.to_be_bytes());
        self.version.no_properties(&mut body);
        text(&mut body, self.client_id);
        if let Some((topic, payload)) = self.will {
            self.version.no_properties(&mut body);
            text(&mut body, topic);
            binary(&mut body, payload);
        }
        if let Some((user, password)) = self.login {
            text(&mut body, user);
            text(&mut body, password);
        }
        packet(0x10, &body)
    }
}

impl Version {
    fn no_properties(self, body: &mut Vec<u8>) {
        if self == Self::V5 {
            body.push(0);
        }
    }

    /// A request for what is published on these topics. `id` is not 0.
    pub(crate) fn subscribe(self, id: u16, filters: &[String]) -> Vec<u8> {
        let mut body = id.to_be_bytes().to_vec();
        self.no_properties(&mut body);
        for filter in filters {
            text(&mut body, filter);
            body.push(0); // Quality of service 0. Retained messages have their flag, live ones none.
        }
        packet(0x82, &body)
    }

    /// Ends that.
    pub(crate) fn unsubscribe(self, id: u16, filters: &[String]) -> Vec<u8> {
        let mut body = id.to_be_bytes().to_vec();
        self.no_properties(&mut body);
        filters.iter().for_each(|filter| text(&mut body, filter));
        packet(0xA2, &body)
    }

    /// What precedes a payload of `len` bytes.
    pub(crate) fn publish(self, topic: &str, len: usize, retain: bool) -> Vec<u8> {
        let mut body = Vec::with_capacity(topic.len() + 8);
        text(&mut body, topic);
        self.no_properties(&mut body);
        let mut head = vec![0x30 | u8::from(retain)];
        length(&mut head, body.len() + len);
        head.extend(body);
        head
    }
}

/// Asks whether the broker is there.
pub(crate) const PINGREQ: [u8; 2] = [0xC0, 0];

/// Ends a connection: the last will is dropped.
pub(crate) const DISCONNECT: [u8; 2] = [0xE0, 0];

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind];
    length(&mut packet, body.len());
    packet.extend(body);
    packet
}

/// Seven bits in each byte, the lowest first (MQTT 5.0, 1.5.5).
fn length(packet: &mut Vec<u8>, mut length: usize) {
    while length > 0x7F {
        packet.push(0x80 | length as u8);
        length >>= 7;
    }
    packet.push(length as u8);
}

fn text(body: &mut Vec<u8>, text: &str) {
    binary(body, text.as_bytes());
}

/// At most 65,535 bytes: topics are shorter, and the command line takes no longer texts.
fn binary(body: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(usize::from(u16::MAX))];
    body.extend((bytes.len() as u16).to_be_bytes());
    body.extend(bytes);
}

/// A packet from the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packet<'b> {
    /// The answer to a connection. `code` is 0 for yes, else a reason of the client's version.
    ConnAck {
        code: u8,
        largest_packet: Option<u32>,
        keep_alive: Option<u16>,
    },
    /// The answer to a subscription: for each filter 0, or a reason from 0x80 on.
    SubAck {
        id: u16,
        codes: &'b [u8],
    },
    Publish {
        topic: &'b str,
        payload: &'b [u8],
        retain: bool,
    },
    /// A message of so many bytes, which is more than the decoder takes.
    Skipped {
        topic: &'b str,
        bytes: usize,
    },
    PingResp,
    /// The broker ends the connection, with a reason.
    Disconnect {
        code: u8,
    },
    /// Something that needs no attention.
    Other,
}

/// Why bytes are no packets of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PacketError {
    #[error("it does not speak MQTT")]
    Invalid,
    #[error("it speaks TLS: use mqtts://")]
    Tls,
    #[error("it publishes with a quality of service that was not asked for")]
    QualityOfService,
}

/// Turns what a broker sends into packets, whichever way it is cut. It holds at most one message of
/// the largest size and what came with it; memory is taken as bytes come, not as lengths claim.
#[derive(Debug)]
pub(crate) struct Decoder {
    version: Version,
    /// Bytes of the largest message that is taken.
    largest: usize,
    buffer: Vec<u8>,
    /// What of the buffer has been given back.
    taken: usize,
    /// What is still to come of a message that is left out.
    skip: usize,
    is_first: bool,
}

impl Decoder {
    pub(crate) fn new(version: Version, largest: usize) -> Self {
        Self { version, largest, buffer: Vec::new(), taken: 0, skip: 0, is_first: true }
    }

    /// Where to add what has come.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        &mut self.buffer
    }

    /// The next packet that is whole.
    pub(crate) fn next(&mut self) -> Result<Option<Packet<'_>>, PacketError> {
        let skipped = self.skip.min(self.buffer.len() - self.taken);
        (self.skip, self.taken) = (self.skip - skipped, self.taken + skipped);
        let start = self.taken;
        let Some((kind, head, len)) = head(&self.buffer[start..])? else { return Ok(None) };
        if self.is_first {
            match kind {
                0x20 => self.is_first = false,
                // An alert of TLS, to what it takes for a wrong beginning.
                0x15 => return Err(PacketError::Tls),
                _ => return Err(PacketError::Invalid),
            }
        }
        let is_publish = kind >> 4 == 3;
        if head + len > self.largest {
            if !is_publish {
                return Err(PacketError::Invalid);
            }
            let Some((topic, _)) = split_binary(&self.buffer[start + head..]) else {
                return Ok(None);
            };
            let topic = start + head + 2..start + head + 2 + topic.len();
            // Its properties count, of which there are rarely any.
            let besides = 2 + topic.len() + usize::from(self.version == Version::V5);
            let bytes = len.checked_sub(besides).ok_or(PacketError::Invalid)?;
            let here = self.buffer.len().min(start + head + len);
            (self.taken, self.skip) = (here, start + head + len - here);
            let topic = std::str::from_utf8(&self.buffer[topic]);
            return Ok(Some(Packet::Skipped { topic: topic.unwrap_or("?"), bytes }));
        }
        let end = start + head + len;
        let Some(body) = self.buffer.get(start + head..end) else { return Ok(None) };
        self.taken = end;
        if is_publish {
            publish(self.version, kind, body).map(Some)
        } else {
            other(self.version, kind, body).ok_or(PacketError::Invalid).map(Some)
        }
    }
}

/// The kind of a packet, the bytes of its fixed header, and how many follow.
fn head(bytes: &[u8]) -> Result<Option<(u8, usize, usize)>, PacketError> {
    let Some((&kind, rest)) = bytes.split_first() else { return Ok(None) };
    let mut length = 0;
    for (at, &byte) in rest.iter().enumerate().take(4) {
        length |= usize::from(byte & 0x7F) << (7 * at);
        if byte < 0x80 {
            return Ok(Some((kind, at + 2, length)));
        }
    }
    if rest.len() < 4 { Ok(None) } else { Err(PacketError::Invalid) }
}

fn publish(version: Version, kind: u8, body: &[u8]) -> Result<Packet<'_>, PacketError> {
    if kind & 0b110 != 0 {
        return Err(PacketError::QualityOfService);
    }
    let (topic, rest) = split_binary(body).ok_or(PacketError::Invalid)?;
    let (_, payload) = split_properties(version, rest).ok_or(PacketError::Invalid)?;
    let topic = std::str::from_utf8(topic).map_err(|_| PacketError::Invalid)?;
    Ok(Packet::Publish { topic, payload, retain: kind & 1 != 0 })
}

fn other(version: Version, kind: u8, body: &[u8]) -> Option<Packet<'_>> {
    Some(match kind >> 4 {
        2 => {
            let (&[_, code], rest) = body.split_first_chunk()?;
            // A broker that does not know MQTT 5 answers as if it were asked in its own version.
            let (properties, _) = split_properties(version, rest).unwrap_or_default();
            let (largest_packet, keep_alive) = limits(properties);
            Packet::ConnAck { code, largest_packet, keep_alive }
        }
        9 => {
            let (id, rest) = body.split_first_chunk()?;
            let (_, codes) = split_properties(version, rest)?;
            Packet::SubAck { id: u16::from_be_bytes(*id), codes }
        }
        13 => Packet::PingResp,
        14 => Packet::Disconnect { code: body.first().copied().unwrap_or(0) },
        11 => Packet::Other, // UNSUBACK
        _ => return None,
    })
}

fn split_binary(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u16::from_be_bytes(*len).into())
}

fn split_properties(version: Version, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    if version == Version::V311 {
        return Some((&[], bytes));
    }
    let (mut length, mut at) = (0, 0);
    loop {
        let byte = *bytes.get(at)?;
        length |= usize::from(byte & 0x7F) << (7 * at);
        at += 1;
        if byte < 0x80 {
            return bytes.get(at..)?.split_at_checked(length);
        }
        if at == 4 {
            return None;
        }
    }
}

/// The largest packet and the keep alive that the broker wants (MQTT 5.0, 3.2.2.3).
fn limits(mut properties: &[u8]) -> (Option<u32>, Option<u16>) {
    let (mut largest, mut keep_alive) = (None, None);
    while let Some((name, rest)) = properties.split_first() {
        let len = match name {
            0x24 | 0x25 | 0x28 | 0x29 | 0x2A => 1,
            0x13 | 0x21 | 0x22 => 2,
            0x11 | 0x27 => 4,
            0x12 | 0x15 | 0x16 | 0x1A | 0x1C | 0x1F => match rest.split_first_chunk() {
                Some((len, _)) => 2 + usize::from(u16::from_be_bytes(*len)),
                None => break,
            },
            0x26 => match split_binary(rest)
                .and_then(|(name, rest)| Some(4 + name.len() + split_binary(rest)?.0.len()))
            {
                Some(len) => len,
                None => break,
            },
            _ => break,
        };
        let Some((value, rest)) = rest.split_at_checked(len) else { break };
        match (name, value) {
            (0x27, &[a, b, c, d]) => largest = Some(u32::from_be_bytes([a, b, c, d])),
            (0x13, &[a, b]) => keep_alive = Some(u16::from_be_bytes([a, b])),
            _ => {}
        }
        properties = rest;
    }
    (largest, keep_alive)
}

/// A reason of MQTT 5, or of the answer to a connection in MQTT 3.1.1, in words.
pub(crate) fn reason(code: u8) -> String {
    let words = match code {
        0x01 | 0x84 => "it does not know this version of MQTT",
        0x02 | 0x85 => "it does not take this client identifier",
        0x03 | 0x88 => "it is not available",
        0x04 | 0x86 => "user or password is wrong",
        0x05 | 0x87 => "it is not allowed",
        0x81 => "it finds a packet malformed",
        0x89 => "it is busy",
        0x8A => "it bans this client",
        0x8B => "it shuts down",
        0x8E => "another client has the same identifier",
        0x8D => "it has heard nothing for too long",
        0x95 => "a packet is too large",
        0x97 => "a quota is exceeded",
        0x9C | 0x9D => "another server is to be used",
        _ => return format!("reason {code:#04x}"),
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Version; 2] = [Version::V311, Version::V5];

    /// What a broker sends: each kind of packet.
    fn session(version: Version) -> Vec<u8> {
        let properties: &[u8] = if version == Version::V5 { &[0] } else { &[] };
        let mut bytes = match version {
            // With a reason, a user property, a keep alive and the largest packet.
            Version::V5 => {
                let mut properties = vec![0x1F, 0, 1, b'r', 0x26, 0, 1, b'a', 0, 2, b'b', b'c'];
                properties.extend([0x13, 0, 90, 0x27, 0, 0, 0x20, 0, 0x29, 1]);
                packet(0x20, &[&[0, 0, properties.len() as u8], &properties[..]].concat())
            }
            Version::V311 => vec![0x20, 2, 0, 0],
        };
        bytes.extend(packet(0x90, &[&[0, 7], properties, &[0, 0x80, 0]].concat()));
        bytes.extend(version.publish("cam/image", 200, true));
        bytes.extend([0xA5; 200]);
        // Larger than the limit of the test.
        bytes.extend(version.publish("cam/set/fps", 3000, false));
        bytes.extend([1; 3000]);
        bytes.extend([0xB0, 2, 0, 8, 0xD0, 0]);
        bytes.extend(version.publish("", 0, false));
        bytes.extend([0xE0, 1, 0x8B]);
        bytes
    }

    fn all(version: Version, pieces: &[&[u8]]) -> Vec<String> {
        let mut decoder = Decoder::new(version, 1000);
        let mut packets = Vec::new();
        for piece in pieces {
            decoder.buffer().extend_from_slice(piece);
            while let Some(packet) = decoder.next().unwrap() {
                packets.push(format!("{packet:?}"));
            }
            assert!(decoder.buffer().len() < 1000 + piece.len(), "what is left out is not kept");
        }
        packets
    }

    #[test]
    fn packets_are_the_same_however_they_are_cut() {
        for version in BOTH {
            let bytes = session(version);
            let whole = all(version, &[&bytes]);
            assert_eq!(whole.len(), 8, "{whole:?}");
            let limits = match version {
                Version::V5 => "largest_packet: Some(8192), keep_alive: Some(90)",
                Version::V311 => "largest_packet: None, keep_alive: None",
            };
            assert_eq!(whole[0], format!("ConnAck {{ code: 0, {limits} }}"));
            assert_eq!(whole[1], "SubAck { id: 7, codes: [0, 128, 0] }");
            assert!(whole[2].starts_with("Publish { topic: \"cam/image\", payload: [165,"));
            assert_eq!(whole[3], "Skipped { topic: \"cam/set/fps\", bytes: 3000 }");
            assert_eq!(whole[7], "Disconnect { code: 139 }");
            for at in 0..bytes.len() {
                assert_eq!(all(version, &[&bytes[..at], &bytes[at..]]), whole, "at {at}");
            }
            let single: Vec<_> = bytes.chunks(1).collect();
            assert_eq!(all(version, &single), whole);
        }
    }

    #[test]
    fn what_is_no_packet_of_a_broker_is_an_error() {
        for (bytes, error) in [
            (&b"HTTP/1.1 400 Bad Request\r\n"[..], PacketError::Invalid),
            (&[0x15, 3, 3, 0, 2, 2, 50], PacketError::Tls),
            (&[0x30, 0x80, 0x80, 0x80, 0x80, 1], PacketError::Invalid),
            (&[0x20, 2, 0, 0, 0x10, 0], PacketError::Invalid),
            (&[0x20, 2, 0, 0, 0x32, 5, 0, 1, b'a', 0, 1], PacketError::QualityOfService),
            (&[0x20, 2, 0, 0, 0x30, 2, 0, 9], PacketError::Invalid),
            (&[0x20, 2, 0, 0, 0x90, 0x80, 0x40], PacketError::Invalid),
            (&[0x20, 2, 0, 0, 0x30, 0x80, 0x40, 0xFF, 0xFF], PacketError::Invalid),
        ] {
            let mut decoder = Decoder::new(Version::V311, 1000);
            decoder.buffer().extend_from_slice(bytes);
            let found = loop {
                match decoder.next() {
                    Ok(Some(_)) => {}
                    // A topic that cannot be there is found when enough has come.
                    Ok(None) => decoder.buffer().extend([0; 70_000]),
                    Err(error) => break error,
                }
            };
            assert_eq!(found, error, "{bytes:?}");
        }
    }

    /// A generator that is good enough for tests.
    fn random(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    #[test]
    fn damaged_bytes_do_no_harm() {
        let mut state = 0x5EED_1234;
        for round in 0..20_000 {
            let version = BOTH[round % 2];
            let mut bytes = session(version);
            for _ in 0..=round % 3 {
                let at = random(&mut state) as usize % bytes.len().min(400);
                bytes[at] = random(&mut state) as u8;
            }
            let mut decoder = Decoder::new(version, 1000);
            for piece in bytes.chunks(1 + random(&mut state) as usize % 500) {
                decoder.buffer().extend_from_slice(piece);
                while let Ok(Some(_)) = decoder.next() {}
            }
        }
    }

    #[test]
    fn packets_of_the_client_are_as_the_specification_has_them() {
        let connect = Connect {
            version: Version::V311,
            client_id: "c",
            keep_alive: 60,
            login: Some(("u", "p")),
            will: Some(("w", b"off")),
        };
        let rest = b"\0\x01c\0\x01w\0\x03off\0\x01u\0\x01p";
        let expected = [&b"\x10\x1B\0\x04MQTT\x04\xE6\0\x3C"[..], rest].concat();
        assert_eq!(connect.encode(), expected);
        let connect = Connect { version: Version::V5, login: None, will: None, ..connect };
        assert_eq!(connect.encode(), b"\x10\x0E\0\x04MQTT\x05\x02\0\x3C\0\0\x01c");
        let filters = ["a".to_owned(), "b/c".to_owned()];
        assert_eq!(Version::V311.subscribe(1, &filters), b"\x82\x0C\0\x01\0\x01a\0\0\x03b/c\0");
        assert_eq!(Version::V5.unsubscribe(1, &filters), b"\xA2\x0B\0\x01\0\0\x01a\0\x03b/c");
        assert_eq!(Version::V5.publish("t", 300, true), b"\x31\xB0\x02\0\x01t\0");
        assert_eq!(Version::V311.publish("t", 0, false), b"\x30\x03\0\x01t");
    }
}
