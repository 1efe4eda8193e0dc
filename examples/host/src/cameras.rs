//! The cameras of `serve`: from the command line, and from a file.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use camwire::frame::{FrameRate, Quality, Resolution};
use camwire::server::CameraName;
use serde::Deserialize;

use crate::cli::{SourceArg, token};
use crate::login::Secret;

/// What `--source` says: `[NAME=]SOURCE`.
#[derive(Clone, Debug)]
pub(crate) struct CameraArg {
    /// A valid [`CameraName`].
    pub(crate) name: Option<String>,
    pub(crate) source: SourceArg,
    pub(crate) own: CameraOptions,
}

/// What a camera in the file has of its own, in place of the command line's options.
#[derive(Clone, Debug, Default)]
pub(crate) struct CameraOptions {
    pub(crate) token: Option<Secret>,
    pub(crate) fps: Option<FrameRate>,
    pub(crate) resolution: Option<Resolution>,
    pub(crate) quality: Option<Quality>,
    pub(crate) strict: bool,
}

impl CameraArg {
    fn nameless(source: SourceArg) -> Self {
        Self { name: None, source, own: CameraOptions::default() }
    }
}

impl FromStr for CameraArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            // An equals sign may also stand in a path or an address.
            Some((name, source)) if CameraName::new(name).is_some() => {
                Ok(Self { name: Some(name.to_owned()), ..Self::nameless(source.parse()?) })
            }
            _ => text.parse().map(Self::nameless),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum CamerasError {
    #[error("cannot read {path}: {1}", path = .0.display())]
    Read(PathBuf, std::io::Error),
    #[error("{path}, line {1}: {2}", path = .0.display())]
    Syntax(PathBuf, usize, String),
    #[error("{path}, camera {1}: {2}", path = .0.display())]
    Camera(PathBuf, String, String),
    #[error("several cameras need a name each: --source NAME=SOURCE")]
    NoName,
    #[error("two cameras are named {0}")]
    SameName(String),
}

/// All cameras: those of the command line, then those of the file; the test pattern if there are none.
pub(crate) fn all(
    sources: &[CameraArg],
    config: Option<&Path>,
) -> Result<Vec<CameraArg>, CamerasError> {
    let mut cameras = sources.to_vec();
    if let Some(path) = config {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| CamerasError::Read(path.to_owned(), error))?;
        cameras.extend(parse(path, &text)?);
    }
    if cameras.is_empty() {
        cameras.push(CameraArg::nameless(SourceArg::Test));
    }
    if cameras.len() > 1 {
        for (n, camera) in cameras.iter().enumerate() {
            let name = camera.name.as_ref().ok_or(CamerasError::NoName)?;
            if cameras[..n].iter().any(|other| other.name.as_ref() == Some(name)) {
                return Err(CamerasError::SameName(name.clone()));
            }
        }
    }
    Ok(cameras)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    camera: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    source: String,
    token: Option<String>,
    fps: Option<f64>,
    resolution: Option<String>,
    quality: Option<i16>,
    #[serde(default)]
    strict: bool,
}

fn parse(path: &Path, text: &str) -> Result<Vec<CameraArg>, CamerasError> {
    let file: File = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let line = 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
        // What stands in quotation marks is a value, which may be a secret.
        let message = error.message().split('"').next().unwrap_or_default().trim_end();
        CamerasError::Syntax(path.to_owned(), line, message.to_owned())
    })?;
    file.camera.into_iter().map(|entry| entry.camera(path)).collect()
}

impl Entry {
    fn camera(self, path: &Path) -> Result<CameraArg, CamerasError> {
        let name = self.name.clone();
        let wrong = |what: String| CamerasError::Camera(path.to_owned(), name.clone(), what);
        if CameraName::new(&self.name).is_none() {
            let what = "a name has 1 to 32 letters, digits, hyphens and underscores";
            return Err(wrong(what.to_owned()));
        }
        let source = self.source.parse().map_err(wrong)?;
        let own = CameraOptions {
            token: self.token.map(|text| token(&text)).transpose().map_err(|e| wrong(e.into()))?,
            fps: match self.fps {
                Some(fps) => Some(
                    fps.to_string()
                        .parse()
                        .map_err(|_| wrong("fps is a number from 0.001 to 1000".to_owned()))?,
                ),
                None => None,
            },
            resolution: match self.resolution {
                Some(text) => Some(text.parse().map_err(|error| wrong(format!("{error}")))?),
                None => None,
            },
            quality: match self.quality {
                Some(number) => Some(
                    Quality::new(number)
                        .ok_or_else(|| wrong("quality is a number from 0 to 63".to_owned()))?,
                ),
                None => None,
            },
            strict: self.strict,
        };
        Ok(CameraArg { name: Some(self.name), source, own })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arg(text: &str) -> CameraArg {
        text.parse().unwrap()
    }

    #[test]
    fn names_stand_before_the_source() {
        let camera = arg("front=http://cam/a?b=c");
        assert_eq!(camera.name.as_deref(), Some("front"));
        assert!(matches!(camera.source, SourceArg::Http(..)));
        for text in ["test", "http://cam/a?b=c", "dir:a=b"] {
            assert_eq!(arg(text).name, None, "{text}");
        }
        for text in ["front=", "front=nothing", "a b=test", "=test", "a.b=test"] {
            assert!(text.parse::<CameraArg>().is_err(), "{text}");
        }
    }

    #[test]
    fn several_cameras_need_different_names() {
        assert!(matches!(
            &all(&[], None).unwrap()[..],
            [CameraArg { source: SourceArg::Test, .. }]
        ));
        assert_eq!(all(&[arg("test")], None).unwrap().len(), 1);
        assert_eq!(all(&[arg("a=test"), arg("b=test")], None).unwrap().len(), 2);
        let nameless = all(&[arg("a=test"), arg("test")], None);
        assert!(matches!(nameless, Err(CamerasError::NoName)));
        let same = all(&[arg("a=test"), arg("a=ingest")], None);
        assert!(matches!(same, Err(CamerasError::SameName(name)) if name == "a"));
    }

    const FILE: &str = r#"
[[camera]]
name = "front"
source = "http://192.0.2.1/stream"
token = "T"
fps = 2.5

[[camera]]
name = "back"
source = "test"
fps = 5
resolution = "QVGA"
quality = 20
strict = true
"#;

    #[test]
    fn file_has_cameras_with_options_of_their_own() {
        let cameras = parse(Path::new("c.toml"), FILE).unwrap();
        let [front, back] = &cameras[..] else { panic!("two cameras") };
        assert_eq!(front.own.token, Some(Secret("T".to_owned())));
        assert_eq!(front.own.fps, "2.5".parse().ok());
        assert_eq!((back.name.as_deref(), back.own.fps), (Some("back"), "5".parse().ok()));
        assert_eq!(back.own.resolution, Some(Resolution::QVGA));
        assert!(back.own.strict && back.own.quality.is_some());
        assert!(parse(Path::new("c.toml"), "").unwrap().is_empty());
    }

    #[test]
    fn errors_of_the_file_say_where_and_repeat_no_value() {
        for (from, to, expected) in [
            ("fps = 5", "fps = \"Geheim\"", "line 11: invalid type: string"),
            ("strict", "strikt", "line 14: unknown field `strikt`"),
            ("fps = 5", "fps = 5000", "camera back: fps is a number"),
            ("quality = 20", "quality = 64", "camera back: quality is a number"),
            ("source = \"test\"", "source = \"Geheim\"", "camera back: a source is test, dir:PATH"),
            ("token = \"T\"", "token = \"Geheim !\"", "camera front: a token of letters"),
            ("\"back\"", "\"b/k\"", "camera b/k: a name has"),
            ("name = \"back\"", "", "line 8: missing field `name`"),
            ("\"front\"", "\"Geheim", "line 3: invalid basic string"),
        ] {
            let error = parse(Path::new("c.toml"), &FILE.replacen(from, to, 1)).unwrap_err();
            let text = error.to_string();
            assert!(text.starts_with("c.toml, ") && text.contains(expected), "{to}: {text}");
            assert!(!text.contains("Geheim"), "{text}");
        }
    }
}
