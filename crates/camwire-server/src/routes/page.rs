//! `/`: the page.

use camwire_frame::Clock;

use crate::http::response::ResponseWriter;
use crate::sender::Disconnect;
use crate::transport::WriteVectored;

/// A page of the server's own. Its policy allows its own style and script by their hashes, so that a
/// script that somebody manages to put into it does not run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    pub(crate) html: &'static [u8],
    /// SHA-256 of what is between the tags, in base64. A test computes them again.
    pub(crate) style: &'static str,
    pub(crate) script: &'static str,
}

pub(crate) const PAGE: Page = Page {
    html: include_bytes!("page.html"),
    style: "/qKC1bjvTcMVIVT2sU3TlMVhKXEyuYQH6O4V+Bc3xRY=",
    script: "OTGIDfr4bBjYsPqkoq5Cii644OUsl6sLQfnZWCgySEI=",
};

/// Sends the page. It loads nothing but its own frames and figures, and only pages of the server's own
/// origin and of [`Config::origins`](crate::Config::origins) may frame it. Its address, which may have
/// a token in it, goes nowhere.
pub(crate) async fn page<W: WriteVectored, C: Clock>(
    out: &mut ResponseWriter<'_, W, C>,
    Page { html, style, script }: &Page,
) -> Result<(), Disconnect<W::Error>> {
    let head = out.page_head(format_args!(
        "Content-Length: {}\r\nReferrer-Policy: no-referrer\r\n",
        html.len()
    ));
    // The policy may be longer than the memory for a head, so it is sent from where it is.
    let policy: [&[u8]; 6] = [
        head.as_bytes(),
        b"Content-Security-Policy: default-src 'none'; img-src 'self' data:; connect-src 'self'; \
          base-uri 'none'; form-action 'none'; style-src 'sha256-",
        style.as_bytes(),
        b"'; script-src 'sha256-",
        script.as_bytes(),
        b"'; frame-ancestors 'self'",
    ];
    out.sender.send(&mut { policy }).await?;
    for origin in out.sender.config().origins.iter().filter(|origin| is_source(origin)) {
        out.sender.send(&mut [b" ", origin.as_bytes()]).await?;
    }
    let body: &[u8] = if out.with_body { html } else { &[] };
    out.sender.send(&mut [b"\r\n\r\n", body]).await?;
    out.sender.flush().await
}

/// Whether a policy can name this origin. `null` it cannot.
fn is_source(origin: &str) -> bool {
    origin.contains("://")
        && origin.bytes().all(|byte| byte.is_ascii_graphic() && !b";,".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::base64::base64;
    use sha2::{Digest as _, Sha256};
    use std::string::String;

    fn hash(page: &Page, open: &str, close: &str) -> String {
        let html = str::from_utf8(page.html).unwrap();
        let (before, rest) = html.split_once(open).unwrap();
        let (inline, after) = rest.split_once(close).unwrap();
        assert!(!before.contains(close) && !after.contains(open), "there is one {open}");
        base64(&Sha256::digest(inline)).map(char::from).collect()
    }

    #[test]
    fn hashes_in_the_policy_are_those_of_style_and_script() {
        let pages = [
            (&PAGE, "<script type=\"module\">"),
            #[cfg(feature = "cameras")]
            (&crate::routes::overview::PAGE, "<script>"),
        ];
        for (page, script) in pages {
            assert_eq!(hash(page, "<style>", "</style>"), page.style);
            assert_eq!(hash(page, script, "</script>"), page.script);
        }
    }

    #[test]
    fn origins_that_would_change_the_policy_are_left_out() {
        for origin in ["https://a.example", "http://a.example:8080", "app://x", "http://[::1]:81"] {
            assert!(is_source(origin), "{origin}");
        }
        for origin in
            ["null", "*", "", "http://a; script-src *", "http://a,http://b", "http://a\r\nB: c"]
        {
            assert!(!is_source(origin), "{origin}");
        }
    }
}
