//! Pictures from files: a directory of JPEG files, or a file of pictures one after another.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use camwire::frame::jpeg::{self, Piece, Splitter};
use camwire::frame::{CaptureError, Clock, FrameInfo};

use super::{SourceError, info};
use crate::clock::HostClock;

#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("cannot read {path}: {1}", path = .0.display())]
    Read(PathBuf, io::Error),
    #[error("{path} is no JPEG picture: {1}", path = .0.display())]
    Jpeg(PathBuf, jpeg::JpegError),
    #[error("there is no JPEG picture in {}", .0.display())]
    NoPicture(PathBuf),
}

type Captured = Result<FrameInfo, CaptureError<FileError>>;

/// The JPEG files of a directory in the order of their names, over and over. It is read again
/// each time round, so files may come and go.
pub(crate) struct DirectorySource {
    path: PathBuf,
    clock: HostClock,
    /// Those still to come in this round, the next one last.
    files: Vec<PathBuf>,
}

impl DirectorySource {
    pub(crate) fn open(path: &Path, clock: HostClock) -> Result<Self, SourceError> {
        let files = jpeg_files(path).map_err(|error| SourceError::Read(path.into(), error))?;
        let mut source = Self { path: path.into(), clock, files };
        // A directory without a single picture is a mistake that is better told at once.
        let mut probe = vec![0; super::LARGEST_PICTURE];
        while !source.files.is_empty() {
            if source.capture(&mut probe).is_ok() {
                source.files.clear(); // The first capture begins with the first.
                return Ok(source);
            }
        }
        Err(SourceError::NoPicture(path.into()))
    }

    pub(crate) fn capture(&mut self, buf: &mut [u8]) -> Captured {
        if self.files.is_empty() {
            self.files = jpeg_files(&self.path)
                .map_err(|error| FileError::Read(self.path.clone(), error))?;
        }
        let Some(file) = self.files.pop() else {
            return Err(FileError::NoPicture(self.path.clone()).into());
        };
        let captured_at = self.clock.now();
        let len = match read_into(&file, buf) {
            Ok(Ok(len)) => len,
            Ok(Err(needed)) => return Err(CaptureError::TooLarge { needed }),
            // It was there when the directory was read; the next one may still be.
            Err(error) => return Err(FileError::Read(file, error).into()),
        };
        let picture =
            jpeg::inspect(&buf[..len]).map_err(|error| FileError::Jpeg(file.clone(), error))?;
        Ok(info(picture, captured_at))
    }
}

/// The directory's JPEG files by name, the first one last.
fn jpeg_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let extension = path.extension().map(|e| e.to_ascii_lowercase());
        if extension.is_some_and(|e| e == "jpg" || e == "jpeg") && path.is_file() {
            files.push(path);
        }
    }
    files.sort_unstable_by(|a, b| b.cmp(a));
    Ok(files)
}

/// Reads a whole file; the inner error is the size of one that does not fit.
fn read_into(path: &Path, buf: &mut [u8]) -> io::Result<Result<usize, usize>> {
    let mut file = File::open(path)?;
    let size = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    if size > buf.len() {
        return Ok(Err(size));
    }
    let mut len = 0;
    // The file may have grown meanwhile; what is beyond the buffer is left out.
    while len < buf.len() {
        match file.read(&mut buf[len..])? {
            0 => break,
            n => len += n,
        }
    }
    Ok(Ok(len))
}

/// The pictures of a file, over and over. Anything between them is passed over, so a recorded
/// multipart stream will do, and a file with a single picture too.
pub(crate) struct FileSource {
    path: PathBuf,
    clock: HostClock,
    file: File,
    splitter: Splitter,
    buffer: Vec<u8>,
    /// What of the buffer is still to be looked at.
    rest: core::ops::Range<usize>,
    /// Whether this round has given any picture.
    fruitful: bool,
}

impl FileSource {
    pub(crate) fn open(path: &Path, clock: HostClock) -> Result<Self, SourceError> {
        let unreadable = |error| SourceError::Read(path.into(), error);
        // Before it is opened: a pipe would wait for its other end, a device may never end.
        let kind = fs::metadata(path).map_err(unreadable)?;
        if kind.is_dir() {
            return Err(SourceError::IsDirectory(path.into()));
        } else if !kind.is_file() {
            return Err(SourceError::NoFile(path.into()));
        }
        let file = File::open(path).map_err(unreadable)?;
        let mut source = Self {
            path: path.into(),
            clock,
            file,
            splitter: Splitter::new(),
            buffer: vec![0; 64 << 10],
            rest: 0..0,
            fruitful: false,
        };
        // A file without a single picture is a mistake that is better told at once.
        let mut probe = vec![0; super::LARGEST_PICTURE];
        loop {
            match source.capture(&mut probe) {
                Ok(_) | Err(CaptureError::TooLarge { .. }) => break,
                Err(CaptureError::Source(FileError::NoPicture(path))) => {
                    return Err(SourceError::NoPicture(path));
                }
                Err(CaptureError::Source(FileError::Read(path, error))) => {
                    return Err(SourceError::Read(path, error));
                }
                Err(_) => {}
            }
        }
        source.rewind().map_err(|error| SourceError::Read(path.into(), error))?;
        Ok(source)
    }

    pub(crate) fn capture(&mut self, buf: &mut [u8]) -> Captured {
        let read_error = |path: &Path, error| FileError::Read(path.into(), error);
        let captured_at = self.clock.now();
        let mut len = 0;
        loop {
            let mut input = &self.buffer[self.rest.clone()];
            while let Some(piece) = self.splitter.next(&mut input) {
                match piece {
                    Piece::Data(data) => {
                        if let Some(room) = buf.get_mut(len..len + data.len()) {
                            room.copy_from_slice(data);
                        }
                        len += data.len();
                        continue;
                    }
                    Piece::Broken(_) => {
                        self.rest.start = self.rest.end - input.len();
                        return Err(CaptureError::Broken);
                    }
                    Piece::End(picture) => {
                        self.rest.start = self.rest.end - input.len();
                        self.fruitful = true;
                        if picture.len > buf.len() {
                            return Err(CaptureError::TooLarge { needed: picture.len });
                        }
                        return Ok(info(picture, captured_at));
                    }
                }
            }
            match self.file.read(&mut self.buffer) {
                Ok(0) => {
                    let fruitful = self.fruitful;
                    self.rewind().map_err(|error| read_error(&self.path, error))?;
                    if !fruitful {
                        return Err(FileError::NoPicture(self.path.clone()).into());
                    }
                    len = 0; // A last picture that is cut off is none.
                }
                Ok(n) => self.rest = 0..n,
                Err(error) => return Err(read_error(&self.path, error).into()),
            }
        }
    }

    fn rewind(&mut self) -> io::Result<()> {
        self.splitter = Splitter::new();
        self.rest = 0..0;
        self.fruitful = false;
        self.file.rewind()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use camwire::frame::{Quality, Resolution};
    use camwire::pattern::TestPattern;
    use std::time::Duration;

    fn picture(number: u64) -> Vec<u8> {
        let mut buf = vec![0; 1 << 16];
        let pattern = TestPattern::new(Resolution::QQVGA, Quality::MAX);
        let len = pattern.encode(number, Duration::ZERO, &mut buf).unwrap();
        buf.truncate(len);
        buf
    }

    /// A place for files that is gone afterwards.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("camwire-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn clock() -> HostClock {
        HostClock::start()
    }

    #[test]
    fn a_directory_goes_round_by_name() {
        let scratch = Scratch::new("dir");
        assert!(matches!(
            DirectorySource::open(&scratch.0, clock()),
            Err(SourceError::NoPicture(_))
        ));
        fs::write(scratch.0.join("b.JPG"), picture(2)).unwrap();
        fs::write(scratch.0.join("a.jpeg"), [picture(1), vec![0; 9]].concat()).unwrap();
        fs::write(scratch.0.join("c.jpg"), b"no picture").unwrap();
        fs::write(scratch.0.join("d.txt"), b"nothing").unwrap();
        let mut source = DirectorySource::open(&scratch.0, clock()).unwrap();
        let mut buf = vec![0; 1 << 16];
        for _ in 0..2 {
            for number in 1..=2 {
                let info = source.capture(&mut buf).unwrap();
                assert_eq!((info.width, info.height), (160, 120));
                assert_eq!(buf[..info.len], picture(number), "without the padding");
            }
            assert!(matches!(
                source.capture(&mut buf),
                Err(CaptureError::Source(FileError::Jpeg(..)))
            ));
        }
        let needed = [picture(1), vec![0; 9]].concat().len();
        assert_eq!(
            source.capture(&mut [0; 100]).map_err(|e| e.to_string()),
            Err(CaptureError::<FileError>::TooLarge { needed }.to_string())
        );
    }

    #[test]
    fn a_file_gives_its_pictures_over_and_over() {
        let scratch = Scratch::new("file");
        let path = scratch.0.join("video.mjpeg");
        let cut = picture(9);
        let parts =
            [picture(1), b"--part\r\n\r\n".to_vec(), picture(2), cut[..cut.len() / 2].into()];
        fs::write(&path, parts.concat()).unwrap();
        let mut source = FileSource::open(&path, clock()).unwrap();
        let mut buf = vec![0; 1 << 16];
        for number in [1, 2, 1, 2, 1] {
            let info = source.capture(&mut buf).unwrap();
            assert_eq!(buf[..info.len], picture(number));
        }
        let needed = picture(2).len();
        assert!(matches!(
            source.capture(&mut buf[..needed - 1]),
            Err(CaptureError::TooLarge { needed: n }) if n == needed
        ));
    }

    #[test]
    fn a_file_without_pictures_is_refused() {
        let scratch = Scratch::new("none");
        let path = scratch.0.join("none.mjpeg");
        fs::write(&path, vec![0xff; 1000]).unwrap();
        assert!(matches!(FileSource::open(&path, clock()), Err(SourceError::NoPicture(_))));
        assert!(matches!(FileSource::open(&scratch.0, clock()), Err(SourceError::IsDirectory(_))));
    }
}
