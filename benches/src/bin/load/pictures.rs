//! The pictures that every server is given: a directory of JPEGs, each of which says its number
//! in a comment segment, so that a viewer knows which one it got, whatever the server's headers.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use camwire::frame::{Quality, Resolution};
use camwire::pattern::TestPattern;

/// How many bytes of a picture have to be looked at to find its number.
pub(crate) const TAG_LEN: usize = 6 + TAG.len() + 8;

const TAG: &[u8] = b"camwire-load picture ";

/// A directory of pictures, with room for notes beside it; removed when dropped.
#[derive(Debug)]
pub(crate) struct Pictures {
    room: PathBuf,
    dir: PathBuf,
    count: u32,
    mean_bytes: usize,
}

impl Pictures {
    /// Writes `count` pictures of about `bytes` each into a new directory.
    pub(crate) fn make(count: u32, bytes: usize) -> io::Result<Self> {
        let room = std::env::temp_dir().join(format!("camwire-load-{}", std::process::id()));
        let dir = room.join("pictures");
        fs::create_dir_all(&dir)?;
        let mut pictures = Self { room, dir, count, mean_bytes: 0 };
        let mut total = 0;
        for number in 0..count {
            let picture = picture(number, bytes);
            total += picture.len();
            fs::write(pictures.dir.join(format!("{number:06}.jpg")), picture)?;
        }
        pictures.mean_bytes = total / count as usize;
        Ok(pictures)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A file that no server takes for a picture.
    pub(crate) fn note(&self, name: &str) -> PathBuf {
        self.room.join(name)
    }

    /// After so many, the first one comes again.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    pub(crate) fn mean_bytes(&self) -> usize {
        self.mean_bytes
    }
}

impl Drop for Pictures {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.room);
    }
}

/// The number in the first [`TAG_LEN`] bytes of a picture.
pub(crate) fn tag_number(start: &[u8]) -> Option<u32> {
    let digits = start.get(6..)?.strip_prefix(TAG)?.get(..8)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// `jpeg` with a comment segment after its SOI that holds the number, and as much padding as
/// makes the picture `bytes` long (or as near as one segment can).
pub(crate) fn tagged(jpeg: &[u8], number: u32, bytes: usize) -> Vec<u8> {
    let (soi, rest) = jpeg.split_at(2);
    let text = [TAG, format!("{number:08}").as_bytes()].concat();
    let padding = bytes.saturating_sub(jpeg.len() + 4 + text.len());
    let length = (2 + text.len() + padding).min(usize::from(u16::MAX));
    let mut picture = Vec::with_capacity(jpeg.len() + 2 + length);
    picture.extend_from_slice(soi);
    picture.extend_from_slice(&[0xff, 0xfe]);
    picture.extend_from_slice(&(length as u16).to_be_bytes());
    picture.extend_from_slice(&text);
    picture.resize(4 + length, b' ');
    picture.extend_from_slice(rest);
    picture
}

/// The test card, at the best quality that fits `bytes`, and padded to that.
fn picture(number: u32, bytes: usize) -> Vec<u8> {
    let room = bytes.saturating_sub(TAG_LEN);
    let time = Duration::from_secs_f64(f64::from(number) / 30.0);
    let mut jpeg = vec![0; 1 << 20];
    for quality in (0..=Quality::MAX.get()).filter_map(Quality::new) {
        let pattern = TestPattern::new(Resolution::VGA, quality);
        // At the worst quality there is, it is larger than what was asked for.
        if let Ok(len) = pattern.encode(number.into(), time, &mut jpeg)
            && (len <= room || quality == Quality::MAX)
        {
            return tagged(&jpeg[..len], number, bytes);
        }
    }
    unreachable!("a megabyte holds any test card of that size")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_have_their_size_and_number() {
        for number in [0, 1, 12345678] {
            let picture = picture(number, 27_000);
            assert_eq!(picture.len(), 27_000);
            assert_eq!(tag_number(&picture[..TAG_LEN]), Some(number));
            let inspected = camwire::frame::jpeg::inspect(&picture).unwrap();
            assert_eq!((inspected.width, inspected.height, inspected.len), (640, 480, 27_000));
        }
    }

    #[test]
    fn a_small_picture_is_padded_and_a_large_one_is_not() {
        let jpeg = [0xff, 0xd8, 1, 2, 3, 0xff, 0xd9];
        assert_eq!(tagged(&jpeg, 1, 500).len(), 500);
        assert_eq!(tagged(&jpeg, 1, 0).len(), jpeg.len() + TAG_LEN - 2);
        assert_eq!(tag_number(b"\xff\xd8\xff\xdb"), None);
    }
}
