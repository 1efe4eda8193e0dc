//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use camwire::capture::Policy;
use camwire::frame::{FrameRate, Quality, Resolution};
use camwire::websocket;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand};
use http::Uri;

use crate::cameras::CameraArg;
use crate::login::{Login, Secret};
use crate::mqtt::MqttArgs;
use crate::push::PushArgs;
use crate::source::{MqttCamera, MqttSourceArgs};
use crate::view::{self, ViewArgs};

/// Streams a camera's pictures to browsers, players and scripts, and looks at such streams.
///
/// Without a command it serves a moving test pattern on http://127.0.0.1:8080/.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant)] // There is only one of it.
pub(crate) enum Command {
    /// Serve pictures from a source
    #[command(after_help = EXAMPLES)]
    Serve(ServeArgs),
    /// Look at a stream: in a window, in figures, or as files
    #[command(after_help = view::EXAMPLES)]
    View(ViewArgs),
}

const EXAMPLES: &str = "\
Examples:
  camwire-host
      a moving test pattern on http://127.0.0.1:8080/
  camwire-host serve --source http://192.168.1.20:81/stream
      relay a camera that serves one viewer only, to any number of them
  camwire-host serve --source http://user:p%40ss@192.168.1.20/stream
      the same of a camera with a login; @ : / ? # and % in it are %40 %3A %2F %3F %23 and %25
  camwire-host serve --source dir:pictures --fps 5 --listen 0.0.0.0:8080
      the JPEG files of a directory in turn, for everybody in the network
  camwire-host serve --source file:video.mjpeg --policy keep-all
      a recording, of which viewers with ?mode=all get every picture
  camwire-host serve --source front=http://192.168.1.20/stream --source back=test
      several cameras: all at /, and each at its name, such as /front/stream
  camwire-host serve --source ingest --ingest-token T --listen 0.0.0.0:8080
      a relay, to which a camera pushes that nobody can reach from outside:
  camwire-host serve --push ws://relay.example:8080/ingest --push-token T
      such a camera
  camwire-host serve --mqtt mqtt://homeassistant.local --mqtt-user cam --mqtt-password secret
      the pictures also at an MQTT broker, where Home Assistant finds the camera
  camwire-host serve --source mqtt://192.168.1.2/esp32cam/50
      watch a camera that publishes its pictures at an MQTT broker";

/// What the command line asks for. If that cannot be understood, or is help, the program ends here.
pub(crate) fn parse() -> Command {
    match Cli::try_parse() {
        Ok(cli) => cli.into_command(),
        Err(error) => without_secrets(error).exit(),
    }
}

/// The error without any value of the command line. Each may be a secret, or hold one, also where it
/// stands by mistake: behind another option, or behind none.
fn without_secrets(mut error: clap::Error) -> clap::Error {
    let hidden = || ContextValue::String("...".to_owned());
    for kind in [ContextKind::InvalidValue, ContextKind::InvalidSubcommand] {
        // An empty one means that there is none.
        if error.get(kind).is_some_and(|value| *value != ContextValue::String(String::new())) {
            error.insert(kind, hidden());
        }
    }
    if error.kind() == ErrorKind::UnknownArgument
        && let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg)
    {
        // What begins with dashes may be a token, too, unless it is nearly the name of an option.
        let is_name = argument.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !is_name || error.get(ContextKind::SuggestedArg).is_none() {
            error.insert(ContextKind::InvalidArg, hidden());
        }
        error.remove(ContextKind::Suggested); // It repeats the argument.
    }
    error
}

impl Cli {
    /// No command means `serve`.
    pub(crate) fn into_command(self) -> Command {
        self.command.unwrap_or(Command::Serve(self.serve))
    }
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Where the pictures come from: test, dir:PATH, file:PATH,
    /// http://[USER:PASSWORD@]HOST[:PORT]/PATH, ws://[USER:PASSWORD@]HOST[:PORT]/PATH (a camwire at
    /// /ws, or any server that sends a JPEG in each message; wss:// with TLS),
    /// mqtt://[USER:PASSWORD@]HOST[:PORT]/PREFIX, or ingest: a camera pushes them to /ingest here,
    /// with a token. Several cameras: NAME=SOURCE for each; its stream is at /NAME/stream, and so on
    /// [default: test]
    #[arg(long, value_name = "SOURCE")]
    pub(crate) source: Vec<CameraArg>,

    /// A TOML file with further cameras: [[camera]] with name, source, and perhaps token, fps,
    /// resolution, quality and strict for each
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Address and port to serve on; may be given several times. Port 0 takes any free one
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR:PORT", value_parser = address)]
    pub(crate) listen: Vec<SocketAddr>,

    /// What gives way when viewers are slower than the source: drop-oldest (the live view),
    /// drop-newest, or keep-all, under which viewers with ?mode=all hold the source back
    #[arg(long, default_value = "drop-oldest", value_parser = policy)]
    pub(crate) policy: Policy,

    /// Most viewers at once; who comes after that is asked to try again later
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=50_000))]
    pub(crate) max_viewers: u16,

    /// Let pages of other origins read the pictures (Access-Control-Allow-Origin: *)
    #[arg(long)]
    pub(crate) cors: bool,

    /// Let pages of this origin open WebSockets, besides those of this computer; may be given
    /// several times
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) allow_origin: Vec<String>,

    /// Answer to this name, too, while listening on this computer only; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) allow_host: Vec<String>,

    /// Ask for this user and password
    #[arg(long, value_name = "USER:PASSWORD", value_parser = auth)]
    pub(crate) auth: Option<Secret>,

    /// Ask for this token: as `Authorization: Bearer TOKEN`, or as ?token=TOKEN
    #[arg(long, value_parser = token)]
    pub(crate) token: Option<Secret>,

    #[command(flatten)]
    pub(crate) push: PushArgs,

    #[command(flatten)]
    pub(crate) mqtt: MqttArgs,

    #[command(flatten)]
    pub(crate) options: SourceOptions,
}

/// What can be said of a source besides its name. It comes behind other arguments, which otherwise
/// would stand under its headings.
#[derive(Debug, Args)]
#[command(next_help_heading = "Source")]
pub(crate) struct SourceOptions {
    /// Size of the test pattern: a name of esp32-camera's (QQVGA, QVGA, VGA, SVGA, XGA, HD, ...)
    /// or its size (640x480)
    #[arg(long, default_value = "VGA", value_parser = resolution)]
    pub(crate) resolution: Resolution,

    /// Most pictures a second. Of the test pattern and of files 15 unless said otherwise; of
    /// another camera as many as it sends, or 1 if it sends one for each request
    #[arg(long, value_name = "RATE")]
    pub(crate) fps: Option<FrameRate>,

    /// Quality of the test pattern's JPEG on esp32-camera's scale: 0 to 63, lower is better
    #[arg(long, default_value = "12", value_parser = quality, value_name = "0..63")]
    pub(crate) quality: Quality,

    /// Drop frames of an http:// source that lack their EOI, in place of completing them
    #[arg(long)]
    pub(crate) strict: bool,

    /// The token that an http:// or ws:// source asks for, in place of a user and password in its
    /// URL
    #[arg(long, value_parser = token, value_name = "TOKEN")]
    pub(crate) source_token: Option<Secret>,

    #[command(flatten)]
    pub(crate) mqtt: MqttSourceArgs,
}

/// What `--source` names.
#[derive(Clone, Debug)]
pub(crate) enum SourceArg {
    Test,
    Directory(PathBuf),
    File(PathBuf),
    /// A URL without its login.
    Http(Uri, Option<Login>),
    /// A URL that has been checked, without its login.
    WebSocket(String, Option<Login>),
    Ingest,
    Mqtt(MqttCamera),
}

impl FromStr for SourceArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const KINDS: &str = "a source is test, dir:PATH, file:PATH, http://HOST[:PORT]/PATH, \
                             ws://HOST[:PORT]/PATH, mqtt://HOST[:PORT]/PREFIX or ingest";
        match text.split_once(':') {
            None if text == "test" => Ok(Self::Test),
            None if text == "ingest" => Ok(Self::Ingest),
            Some(("ws" | "wss", _)) => {
                websocket_url(text).map(|(url, login)| Self::WebSocket(url, login))
            }
            Some(("dir", path)) if !path.is_empty() => Ok(Self::Directory(path.into())),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            Some(("http", rest)) if rest.starts_with("//") => {
                let (url, login) = split_login(text)?;
                let uri: Uri = url.parse().map_err(|_| NO_URL)?;
                check_url(&uri)?;
                Ok(Self::Http(uri, login))
            }
            Some(("https", _)) => Err("TLS is not supported; use http://".into()),
            Some(("mqtt" | "mqtts" | "tcp" | "ssl", _)) => text.parse().map(Self::Mqtt),
            _ => Err(KINDS.into()),
        }
    }
}

const NO_URL: &str = "not a URL like http://HOST[:PORT]/PATH";

/// A URL without the user and password in it, and these, which can be sent as Basic does it.
fn split_login(url: &str) -> Result<(String, Option<Login>), String> {
    let (url, login) = Login::split(url).map_err(|error| error.to_string())?;
    if let Some(login) = &login {
        login.check_basic().map_err(|error| error.to_string())?;
    }
    Ok((url, login))
}

/// What the type does not check: a host, and a port that is one.
fn check_url(uri: &Uri) -> Result<(), &'static str> {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let host = uri.host().filter(|host| !host.is_empty()).ok_or(NO_URL)?;
    match authority.strip_prefix(host) {
        Some("") => Ok(()),
        Some(port) => match port.strip_prefix(':').and_then(|port| port.parse::<u16>().ok()) {
            Some(1..) => Ok(()),
            _ => Err("a port is a number from 1 to 65535"),
        },
        None => Err(NO_URL),
    }
}

/// A URL that has been checked, without its login.
pub(crate) fn websocket_url(text: &str) -> Result<(String, Option<Login>), String> {
    let (url, login) = split_login(text)?;
    match websocket::Uri::parse(&url).map(|uri| uri.security) {
        Ok(websocket::Security::Tls) if cfg!(not(feature = "tls")) => {
            Err("this program was built without TLS; use ws://".to_owned())
        }
        Ok(_) => Ok((url, login)),
        Err(_) => Err("not a URL like ws://HOST[:PORT]/PATH".to_owned()),
    }
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080")
}

fn resolution(text: &str) -> Result<Resolution, String> {
    text.parse().map_err(|error| {
        let names: Vec<_> = Resolution::ALL.iter().map(|r| r.name()).collect();
        format!("{error}; there are {}", names.join(", "))
    })
}

fn quality(text: &str) -> Result<Quality, &'static str> {
    text.parse().ok().and_then(Quality::new).ok_or("quality is a number from 0 to 63")
}

fn policy(text: &str) -> Result<Policy, &'static str> {
    match text {
        "drop-oldest" => Ok(Policy::DropOldest),
        "drop-newest" => Ok(Policy::DropNewest),
        "keep-all" => Ok(Policy::KeepAll),
        _ => Err("a policy is drop-oldest, drop-newest or keep-all"),
    }
}

/// More does not fit into the lines that the server reads.
const SECRET_MAX: usize = 256;

fn auth(text: &str) -> Result<Secret, &'static str> {
    let is_right = text.len() <= SECRET_MAX
        && text
            .split_once(':')
            .is_some_and(|(user, password)| !user.is_empty() && !password.is_empty())
        && !text.contains(char::is_control);
    let secret = || Secret(text.to_owned());
    is_right.then(secret).ok_or("a user and a password, such as anna:secret")
}

pub(crate) fn token(text: &str) -> Result<Secret, &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let is_right = (1..=SECRET_MAX).contains(&text.len()) && text.bytes().all(is_plain);
    let secret = || Secret(text.to_owned());
    is_right.then(secret).ok_or("a token of letters, digits, and any of -._~")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn no_command_is_serve() {
        let bare = Cli::try_parse_from(["camwire-host"]).unwrap().into_command();
        let named = Cli::try_parse_from(["camwire-host", "serve"]).unwrap().into_command();
        assert!(matches!(bare, Command::Serve(_)));
        assert_eq!(format!("{bare:?}"), format!("{named:?}"));
        assert!(Cli::try_parse_from(["camwire-host", "--fps", "5"]).is_ok());
    }

    #[test]
    fn secrets() {
        for text in ["a:b", "anna:se:cret \u{e4}"] {
            assert_eq!(auth(text), Ok(Secret(text.to_owned())));
        }
        let long = "a".repeat(257);
        for text in ["", "anna", ":", "anna:", ":secret", "a:b\n", &format!("a:{long}")] {
            assert!(auth(text).is_err(), "{text}");
        }
        assert_eq!(token("mF_9.B5f-4~"), Ok(Secret("mF_9.B5f-4~".to_owned())));
        for text in ["", "a b", "a&b", "a%20", "\u{e4}", &long] {
            assert!(token(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sources() {
        let parse = |text: &str| text.parse::<SourceArg>();
        assert!(matches!(parse("test"), Ok(SourceArg::Test)));
        assert!(
            matches!(parse("dir:a:b"), Ok(SourceArg::Directory(path)) if path.as_os_str() == "a:b")
        );
        assert!(matches!(parse("http://cam:81/stream?a=b"), Ok(SourceArg::Http(_, None))));
        assert!(matches!(parse("ws://cam:81"), Ok(SourceArg::WebSocket(_, None))));
        assert_eq!(parse("wss://cam/ws").is_ok(), cfg!(feature = "tls"));
        assert!(matches!(parse("ingest"), Ok(SourceArg::Ingest)));
        for text in [
            "",
            "tests",
            "ingest:",
            "ws://",
            "ws:cam",
            "ws://cam/#a",
            "dir:",
            "file",
            "http://",
            "http:cam",
            "https://cam/",
            "ftp://cam/",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn urls_are_kept_without_their_logins() {
        let expected = Login { user: "anna".to_owned(), password: "p@ss:\u{e4}".to_owned() };
        let login = "anna:p%40ss:%c3%a4@";
        let Ok(SourceArg::Http(uri, Some(found))) = format!("http://{login}cam:81/a?b").parse()
        else {
            panic!("an HTTP source with a login");
        };
        assert_eq!((uri.to_string().as_str(), &found), ("http://cam:81/a?b", &expected));
        let Ok(SourceArg::WebSocket(url, Some(found))) = format!("ws://{login}[::1]/ws").parse()
        else {
            panic!("a WebSocket source with a login");
        };
        assert_eq!((url.as_str(), &found), ("ws://[::1]/ws", &expected));
    }

    #[test]
    fn no_error_of_the_command_line_repeats_a_value() {
        let secret = "Geheim-4711";
        let urls = [
            "http://anna:Geheim-4711@",
            "http://anna:Geheim-4711@cam:0/",
            "http://anna:Geheim-4711@cam:99999/",
            "http://anna:Geheim-4711%@cam/",
            "http://anna:Geheim-4711%00@cam/",
            "http://anna:Geheim-4711%ff@cam/",
            "http://an%3Ana:Geheim-4711@cam/",
            "http://anna:Geheim-4711/x@cam/",
            "http://anna:Geheim-4711#x@cam/",
            "http://anna:Geheim-4711@c am/",
            "http:/anna:Geheim-4711@cam/",
            "http:anna:Geheim-4711@cam/",
            "htp://anna:Geheim-4711@cam/",
            "https://anna:Geheim-4711@cam/",
            "anna:Geheim-4711@cam",
            "http://anna%3AGeheim-4711%40cam/",
            "ws://anna%3AGeheim-4711%40cam/",
            "mqtt://anna%3AGeheim-4711%40cam/a",
            "ws://anna:Geheim-4711@",
            "ws://anna:Geheim-4711@cam:x/ws",
            "ws://anna:Geheim-4711@cam/ws#x",
            "wss://anna:Geheim-4711%4@cam/ws",
            "mqtt://anna:Geheim-4711@",
            "mqtt://anna:Geheim-4711@broker",
            "mqtt://anna:Geheim-4711@broker/cam?Geheim-4711=b",
            "mqtt://anna:Geheim-4711?x@broker/cam",
            "mqtts://anna:Geheim-4711@broker/cam",
        ];
        let of_urls = ["--source", "--push", "--mqtt"];
        let others = [
            "--listen",
            "--fps",
            "--auth",
            "--resolution",
            "--quality",
            "--policy",
            "--max-viewers",
            "--mqtt-prefix",
            "--mqtt-layout",
            "--mqtt-publish",
            "--mqtt-packet",
            "--mqtt-listen",
            "--sorce",
            "-s",
            "-",
            "--",
            "",
        ];
        let mut lines: Vec<Vec<String>> = Vec::new();
        let line = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        for url in urls {
            lines.push(line(&[url]));
            lines.push(line(&["view", url]));
            lines.push(line(&["view", "test", url]));
            lines.push(line(&["serve", url]));
            for option in of_urls {
                lines.push(line(&["serve", option, url]));
            }
        }
        for (option, url) in of_urls.iter().chain(&others).zip(urls.iter().cycle()) {
            lines.push(line(&["serve", option, url]));
            lines.push(line(&["serve", &format!("{option}={url}")]));
            lines.push(line(&["view", &format!("{option}{url}")]));
        }
        for option in ["--auth", "--token", "--source-token", "--mqtt-password", "--ingest-token"] {
            let option = option.trim_start_matches('-');
            for given in [
                format!("--{option}=Geheim-4711 x\n"),
                format!("--{option}:Geheim-4711"),
                format!("--{option}x=Geheim-4711"),
                format!("--x{option}=Geheim-4711"),
                format!("-{option}=Geheim-4711"),
                format!("{option}=Geheim-4711"),
                format!("{option}:Geheim-4711"),
            ] {
                lines.push(line(&["serve", &given]));
                lines.push(line(&["view", &given]));
                lines.push(line(&[&given]));
            }
            let option = &*format!("--{option}");
            lines.push(line(&["serve", option, "--Geheim-4711"]));
            lines.push(line(&["view", option, "-4711"]));
            // Quotes are missing.
            lines.push(line(&["serve", option, "anna:a", "Geheim-4711"]));
            lines.push(line(&["serve", option, "a", "Geheim-4711"]));
        }
        let mut errors = 0;
        for line in lines {
            let given = ["camwire-host".to_owned()].into_iter().chain(line.iter().cloned());
            // `-h` is help, whatever follows it.
            let Some(error) = Cli::try_parse_from(given).err().filter(clap::Error::use_stderr)
            else {
                continue;
            };
            errors += 1;
            let text = without_secrets(error).render().ansi().to_string();
            assert!(text.contains("error:"), "{line:?}: {text}");
            for part in [secret, "Geheim", "4711"] {
                assert!(!text.contains(part), "{line:?}: {text}");
            }
        }
        assert!(errors > 250, "{errors}");
    }

    #[test]
    fn errors_of_the_command_line_say_what_is_wrong() {
        let error = |words: &str| {
            let given = ["camwire-host"].into_iter().chain(words.split(' '));
            without_secrets(Cli::try_parse_from(given).unwrap_err()).render().to_string()
        };
        let wrong = error("serve --source http://cam:0/");
        assert!(wrong.contains("'...' for '--source <SOURCE>': a port is a number"), "{wrong}");
        let missing = error("serve --source");
        assert!(missing.contains("a value is required for '--source <SOURCE>'"), "{missing}");
        let mistyped = error("serve --sorce=test");
        assert!(mistyped.contains("unexpected argument '--sorce' found"), "{mistyped}");
        assert!(mistyped.contains("'--source'"), "{mistyped}");
        assert!(error("serv --fps 5").contains("'serve'"));
        let layout = error("serve --mqtt-layout hole");
        assert!(layout.contains("framed, indexed, whole"), "{layout}");
    }
}
