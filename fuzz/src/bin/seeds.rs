//! Writes the inputs that each fuzz target begins with: `cargo run --bin seeds`, in this folder, writes
//! them to `corpus/`, where `cargo fuzz` looks for them.
//!
//! Every target gets random bytes of many lengths, which are sequences of operations to most. Targets
//! that read a format also get what is right in it, in the form in which `arbitrary` takes it apart.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

/// Random inputs for each target.
const RANDOM: u32 = 24;

fn main() -> io::Result<()> {
    let corpus = env::args_os().nth(1).map_or_else(|| PathBuf::from("corpus"), PathBuf::from);
    let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz_targets");
    for target in fs::read_dir(targets)? {
        let path = target?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let folder = corpus.join(&name);
        fs::create_dir_all(&folder)?;
        let inputs = (0..RANDOM).map(random).chain(of_format(&name));
        for (number, input) in inputs.enumerate() {
            fs::write(folder.join(format!("seed-{number:02}")), input)?;
        }
    }
    Ok(())
}

/// Inputs that are right in the format that a target reads.
fn of_format(target: &str) -> Vec<Vec<u8>> {
    let jpegs = [0, 1, 300].map(jpeg);
    match target {
        "jpeg" => {
            let streams = [jpegs[2].clone(), jpegs.concat(), [b"junk", &*jpegs[1]].concat()];
            streams.map(|stream| [list(&stream), vec![6]].concat()).into()
        }
        "multipart_decode" => {
            // No quirk, the first wrong_length, the usual limits, boundary x, and two cuts.
            let options = [&[0; 11][..], &[0, 20, 0, 99, 0, 0, 0, 0, 0]].concat();
            let bodies = [body(&jpegs, true), body(&jpegs, false)];
            bodies.map(|body| [&*options, &body].concat()).into()
        }
        "http_response" => RESPONSES.map(|response| list(response.as_bytes())).into(),
        "request_head" => REQUESTS.map(|head| list(head.as_bytes())).into(),
        "websocket_decode" => {
            // The usual limit, one role or the other, and two cuts.
            let options = |server| [0, server, 3, 0, 9, 0, 0, 0, 0, 0];
            let of_client =
                [frame(0x81, b"text", true), frame(0x89, b"", true), frame(0x88, b"", true)];
            let of_server = [frame(0x02, &jpegs[1], false), frame(0x80, &jpegs[2], false)];
            vec![
                [&options(1)[..], &of_client.concat()].concat(),
                [&options(0)[..], &of_server.concat()].concat(),
            ]
        }
        _ => Vec::new(),
    }
}

const REQUESTS: [&str; 3] = [
    "GET / HTTP/1.1\r\nHost: camera.local\r\n\r\n",
    "GET /stream?fps=5&mode=all HTTP/1.1\r\nHost: [::1]:8080\r\nAuthorization: Basic YTpi\r\n\r\nrest",
    "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
];

/// As many bytes as the number asks for, the same each time: xorshift32 (Marsaglia, 2003).
fn random(number: u32) -> Vec<u8> {
    let len = [0, 1, 2, 3, 5, 9, 17, 40, 100, 250, 600, 1500][number as usize % 12];
    let mut state = number.wrapping_mul(0x9E37_79B9) | 1;
    let byte = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 11) as u8
    };
    std::iter::repeat_with(byte).take(len).collect()
}

/// How `arbitrary` reads a `Vec<u8>`: an odd byte before each element, and an even one after the last.
fn list(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().flat_map(|byte| [1, *byte]).chain([0]).collect()
}

/// The structure of a JPEG picture of 32 x 16 pixels, with so many bytes of data.
fn jpeg(len: usize) -> Vec<u8> {
    let mut jpeg = b"\xff\xd8\xff\xc0\x00\x0b\x08\x00\x10\x00\x20\x01\x01\x11\x00".to_vec();
    jpeg.extend(b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00");
    jpeg.resize(jpeg.len() + len, b'x');
    jpeg.extend(b"\xff\xd9");
    jpeg
}

/// Answers of servers, and of cameras.
const RESPONSES: [&str; 3] = [
    "HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nA: b\r\n c\r\n\r\n--x\r\n",
    "HTTP/1.1 100\r\n\r\nHTTP/1.1 200OK\nTransfer-Encoding: chunked\n\n3;a\r\nabc\r\n1f\r\ncontent-",
    "ICY 200\r\nno colon\r\nContent-Length : -1\r\n\r\ncontent-type: image/jpeg",
];

/// A multipart body with boundary `x`, with or without lengths.
fn body(parts: &[Vec<u8>], with_lengths: bool) -> Vec<u8> {
    let mut body = b"--x\r\n".to_vec();
    for part in parts {
        body.extend(b"Content-Type: image/jpeg\r\n");
        if with_lengths {
            body.extend(format!("Content-Length: {}\r\n", part.len()).bytes());
        }
        body.extend(b"\r\n");
        body.extend(part);
        body.extend(b"\r\n--x\r\n");
    }
    body
}

/// A WebSocket frame (RFC 6455, section 5.2) with this first byte.
fn frame(first: u8, payload: &[u8], is_masked: bool) -> Vec<u8> {
    let mask = if is_masked { 0x80 } else { 0 };
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(mask | len as u8),
        len => {
            frame.push(mask | 126);
            frame.extend((len as u16).to_be_bytes());
        }
    }
    let key: &[u8] = if is_masked { &[0x37, 0xfa, 0x21, 0x3d] } else { &[] };
    frame.extend(key);
    let byte = |(at, byte): (usize, &u8)| key.get(at % 4).map_or(*byte, |key| byte ^ key);
    frame.extend(payload.iter().enumerate().map(byte));
    frame
}
