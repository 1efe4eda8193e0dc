//! What is sent for a request: a head, and perhaps a body.

use core::fmt::{self, Write as _};
use core::net::SocketAddr;

use camwire_frame::Clock;
use embedded_io_async::Read;

use crate::config::Cors;
use crate::sender::{Disconnect, Sender, drain};
use crate::transport::WriteVectored;

/// A whole answer. By default it is a `200 OK` with an empty plain text.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Status code and reason phrase (RFC 9112, section 4).
    pub status: &'a str,
    /// The media type of `body`.
    pub content_type: &'a str,
    /// The value of `Content-Security-Policy`: what a browser lets `body` do when somebody opens it. By
    /// default [`SANDBOX`](Self::SANDBOX), which is right for everything but a page. A page of the
    /// application's own needs one that lets it do what it must, such as `default-src 'self'`. An
    /// empty one allows everything.
    pub policy: &'a str,
    /// Further field lines, each with its line end. `Content-Length`, `Connection` and
    /// `Content-Security-Policy` are the server's.
    pub fields: &'a str,
    /// What follows the head; after a HEAD request it is only counted.
    pub body: &'a [u8],
}

impl Answer<'_> {
    /// Most bytes of `status`, `content_type`, `policy` and `fields` together.
    pub const HEAD_MAX: usize = 256;

    /// The policy of every answer of the server but its page, 27 bytes long: no script runs, nothing
    /// else is loaded, and the origin is none. A frame or a text that a browser takes for a page is
    /// harmless then.
    pub const SANDBOX: &'static str = "default-src 'none'; sandbox";

    /// An empty plain text.
    pub(crate) const PLAIN: Self = Self {
        status: "200 OK",
        content_type: "text/plain; charset=utf-8",
        policy: Self::SANDBOX,
        fields: "",
        body: &[],
    };

    pub(crate) fn is_proper(&self) -> bool {
        let Self { status, content_type, policy, fields, .. } = self;
        let is_line = |text: &str| !text.bytes().any(|byte| byte < b' ');
        status.len() + content_type.len() + policy.len() + fields.len() <= Self::HEAD_MAX
            && !status.is_empty()
            && !content_type.is_empty()
            && [status, content_type, policy].into_iter().all(|text| is_line(text))
            && (fields.is_empty() || fields.ends_with("\r\n"))
    }
}

impl Default for Answer<'_> {
    fn default() -> Self {
        Self::PLAIN
    }
}

/// One connection, its two halves apart: while one waits the other is used.
pub(crate) struct Connection<'c, R, W, C> {
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) read: R,
    pub(crate) out: ResponseWriter<'c, W, C>,
}

impl<R: Read, W: WriteVectored, C: Clock> Connection<'_, R, W, C> {
    /// A refusal that says when to try again.
    pub(crate) async fn unavailable(&mut self, reason: &str) -> Result<(), Disconnect<W::Error>> {
        let mut retry = heapless::String::<48>::new();
        let seconds = self.out.sender.config().retry_after.as_secs();
        let _ = write!(retry, "Retry-After: {seconds}\r\n");
        self.refuse("503 Service Unavailable", &retry, reason).await
    }

    /// A short answer in plain text, after which the connection stays open for a moment.
    pub(crate) async fn refuse(
        &mut self,
        status: &str,
        fields: &str,
        reason: &str,
    ) -> Result<(), Disconnect<W::Error>> {
        let body = reason.as_bytes();
        self.out.answer(&Answer { status, fields, body, ..Answer::default() }).await?;
        self.drain().await;
        Ok(())
    }

    /// Takes what the peer is still sending, for a second at most.
    pub(crate) async fn drain(&mut self) {
        drain(&mut self.read, self.out.sender.clock()).await;
    }
}

/// Text in a small buffer: heads, short bodies, a piece of a long one.
pub(crate) type Text = heapless::String<512>;

/// Writes the answer to one request.
#[derive(Debug)]
pub(crate) struct ResponseWriter<'c, W, C> {
    pub(crate) sender: Sender<'c, W, C>,
    /// False for HEAD, whose answers end with their head, refusals too (RFC 9110, 9.3.2).
    pub(crate) with_body: bool,
}

impl<'c, W, C> ResponseWriter<'c, W, C> {
    pub(crate) const fn new(sender: Sender<'c, W, C>) -> Self {
        Self { sender, with_body: true }
    }

    /// The same one, lent.
    pub(crate) const fn reborrow(&mut self) -> ResponseWriter<'_, &mut W, C> {
        ResponseWriter { sender: self.sender.reborrow(), with_body: self.with_body }
    }
}

impl<W: WriteVectored, C: Clock> ResponseWriter<'_, W, C> {
    /// A whole answer. Its head must fit a [`Text`].
    pub(crate) async fn answer(&mut self, answer: &Answer<'_>) -> Result<(), Disconnect<W::Error>> {
        let Answer { status, content_type, policy, fields, body } = *answer;
        let length = body.len();
        let head = self.head(
            status,
            content_type,
            policy,
            format_args!("Content-Length: {length}\r\n{fields}"),
        );
        let body = if self.with_body { body } else { &[] };
        self.sender.send(&mut [head.as_bytes(), body]).await?;
        self.sender.flush().await
    }

    /// The head of an answer that goes on, with its first bytes.
    pub(crate) async fn begin(
        &mut self,
        content_type: &str,
        opening: &[u8],
    ) -> Result<(), Disconnect<W::Error>> {
        let head = self.head("200 OK", content_type, Answer::SANDBOX, format_args!(""));
        self.sender.send(&mut [head.as_bytes(), opening]).await?;
        self.sender.flush().await
    }

    /// The next piece of an answer that goes on.
    pub(crate) async fn send_text(&mut self, text: &str) -> Result<(), Disconnect<W::Error>> {
        self.sender.send(&mut [text.as_bytes()]).await
    }

    /// The head of an answer, with its `Content-Security-Policy`. Every head is written here, so no
    /// route can forget it.
    pub(crate) fn head(
        &self,
        status: &str,
        content_type: &str,
        policy: &str,
        fields: fmt::Arguments<'_>,
    ) -> Text {
        let mut head = Text::new();
        let cors = match self.sender.config().cors {
            Cors::SameOrigin => "",
            Cors::AnyOrigin => {
                "Access-Control-Allow-Origin: *\r\n\
                 Access-Control-Expose-Headers: X-Timestamp, X-Frame\r\n"
            }
        };
        // An Upgrade that is asked for is an option of the connection (RFC 9110, section 7.8).
        let upgrade = if status.starts_with("426 ") { "Upgrade, " } else { "" };
        // Content-Type first: some clients of streams read no further than they must. What is
        // written here always fits.
        let _ = write!(
            head,
            "HTTP/1.1 {status}\r\n\
             Content-Type: {content_type}\r\n\
             Cache-Control: no-store\r\n\
             Connection: {upgrade}close\r\n\
             X-Content-Type-Options: nosniff\r\n\
             Content-Security-Policy: {policy}\r\n\
             {cors}{fields}\r\n"
        );
        head
    }
}

#[cfg(test)]
mod tests {
    use super::Answer;

    #[test]
    fn answers_with_line_breaks_or_too_much_in_their_head_are_improper() {
        let answer = Answer::default();
        assert!(answer.is_proper());
        assert!(Answer { fields: "A: b\r\nC: d\r\n", ..answer }.is_proper());
        assert!(Answer { policy: "", ..answer }.is_proper());
        for improper in [
            Answer { status: "", ..answer },
            Answer { status: "200 OK\r\nA: b", ..answer },
            Answer { content_type: "", ..answer },
            Answer { content_type: "text/plain\n", ..answer },
            Answer { policy: "sandbox\r\nA: b", ..answer },
            Answer { policy: &"x".repeat(Answer::HEAD_MAX), ..answer },
            Answer { fields: "A: b", ..answer },
            Answer { fields: "A: b\r\nC: d", ..answer },
        ] {
            assert!(!improper.is_proper(), "{improper:?}");
        }
    }
}
