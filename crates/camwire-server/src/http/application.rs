//! Routes of the application's own.

use camwire_frame::Clock;
use embedded_io_async::Read;

use crate::http::body::{Incoming, RequestBody};
use crate::http::response::{Answer, ResponseWriter};
use crate::http::target::Target;
use crate::sender::Disconnect;
use crate::transport::WriteVectored;

/// Routes of the program's own, beside those of the server, such as a robot's state, a lamp's switch or
/// an upload. `()` has none.
///
/// ```
/// use camwire_frame::Clock;
/// use camwire_server::{Answer, Answered, Application, Disconnect, Exchange, Read, WriteVectored};
/// use core::sync::atomic::{AtomicBool, Ordering};
///
/// struct Lamp(AtomicBool);
///
/// impl Application for Lamp {
///     fn owns(&self, path: &str) -> bool {
///         path == "/lamp"
///     }
///
///     async fn answer<R: Read, W: WriteVectored<Error = R::Error>, C: Clock>(
///         &self,
///         exchange: Exchange<'_, R, W, C>,
///     ) -> Result<Answered, Disconnect<W::Error>> {
///         if let Some(value) = exchange.parameter("on") {
///             self.0.store(value == "1", Ordering::Relaxed);
///         }
///         let body = if self.0.load(Ordering::Relaxed) { "it is on\n" } else { "it is off\n" };
///         exchange.answer(&Answer { body: body.as_bytes(), ..Answer::default() }).await
///     }
/// }
/// ```
///
/// [`Server::with_application`](crate::Server::with_application) takes it. [`Exchange::body`] has an
/// example that takes an upload.
#[allow(async_fn_in_trait)] // Whether the futures are `Send` is the application's to decide.
pub trait Application {
    /// Whether requests for this path are answered here, whatever their method. The path is
    /// without its query and as it was sent: nothing in it is percent-decoded.
    ///
    /// It is asked before the server looks at its own routes, so that even `/` can be replaced.
    fn owns(&self, path: &str) -> bool;

    /// Answers a request for a path that is [owned](Self::owns). What it holds while it waits is
    /// part of the connection's future.
    ///
    /// # Errors
    ///
    /// What [`Exchange::answer`] says.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped when that of [`Server::serve`](crate::Server::serve) is, and not
    /// before: a viewer that leaves is only noticed by what is sent to it.
    async fn answer<R: Read, W: WriteVectored<Error = R::Error>, C: Clock>(
        &self,
        exchange: Exchange<'_, R, W, C>,
    ) -> Result<Answered, Disconnect<W::Error>>;
}

impl Application for () {
    fn owns(&self, _path: &str) -> bool {
        false
    }

    async fn answer<R: Read, W: WriteVectored<Error = R::Error>, C: Clock>(
        &self,
        exchange: Exchange<'_, R, W, C>,
    ) -> Result<Answered, Disconnect<W::Error>> {
        exchange.answer(&Answer { status: "404 Not Found", ..Answer::default() }).await
    }
}

impl<A: Application> Application for &A {
    fn owns(&self, path: &str) -> bool {
        (**self).owns(path)
    }

    async fn answer<R: Read, W: WriteVectored<Error = R::Error>, C: Clock>(
        &self,
        exchange: Exchange<'_, R, W, C>,
    ) -> Result<Answered, Disconnect<W::Error>> {
        (**self).answer(exchange).await
    }
}

/// Says that an answer was sent: only [`Exchange::answer`] makes one.
#[derive(Debug)]
pub struct Answered(());

/// A request for one of the application's own routes, to be answered once.
#[derive(Debug)]
pub struct Exchange<'x, R, W, C> {
    // By reference, since a future has each of its arguments twice.
    pub(crate) parts: &'x mut Parts<'x, R, W, C>,
}

#[derive(Debug)]
pub(crate) struct Parts<'x, R, W, C> {
    pub(crate) target: Target<'x>,
    pub(crate) incoming: Incoming<'x, R>,
    pub(crate) out: ResponseWriter<'x, &'x mut W, C>,
}

impl<'x, R: Read, W: WriteVectored<Error = R::Error>, C: Clock> Exchange<'x, R, W, C> {
    /// The method, such as `GET`. After `HEAD` the answer's body is left out by itself.
    #[must_use]
    pub fn method(&self) -> &str {
        self.parts.target.method
    }

    /// The path, without the query. Nothing in it is percent-decoded.
    #[must_use]
    pub fn path(&self) -> &str {
        self.parts.target.path
    }

    /// What follows the question mark, perhaps nothing. Nothing in it is percent-decoded.
    #[must_use]
    pub fn query(&self) -> &str {
        self.parts.target.query
    }

    /// The value of `name=value` in the query, the last one if there are several; empty for a
    /// mere `name`.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parts.target.parameter(name)
    }

    /// The body of the request, as a stream of at most `limit` bytes, whose whole must have come
    /// within [`Config::body_timeout`](crate::Config::body_timeout) from now. A request without a
    /// body has an empty one.
    ///
    /// Both a `Content-Length` and a chunked body are taken. A client that waits for a `100 Continue`
    /// gets it with the first read.
    ///
    /// ```
    /// use camwire_frame::Clock;
    /// use camwire_server::{
    ///     Answer, Answered, BodyError, Disconnect, Exchange, Read, WriteVectored,
    /// };
    ///
    /// /// Answers an upload, such as that of a firmware of at most 1 MB.
    /// async fn upload<R: Read, W: WriteVectored<Error = R::Error>, C: Clock>(
    ///     mut exchange: Exchange<'_, R, W, C>,
    ///     mut write: impl AsyncFnMut(&[u8]),
    /// ) -> Result<Answered, Disconnect<W::Error>> {
    ///     let mut body = exchange.body(1_000_000);
    ///     let mut buffer = [0; 512];
    ///     let received: Result<(), BodyError<R::Error>> = loop {
    ///         match body.read(&mut buffer).await {
    ///             Ok(0) => break Ok(()),
    ///             Ok(count) => write(&buffer[..count]).await,
    ///             Err(error) => break Err(error),
    ///         }
    ///     };
    ///     match received {
    ///         Ok(()) => exchange.answer(&Answer { body: b"stored\n", ..Answer::default() }).await,
    ///         Err(error) => exchange.answer(&error.answer()).await,
    ///     }
    /// }
    /// ```
    pub fn body(&mut self, limit: u64) -> RequestBody<'_, 'x, R, W, C> {
        RequestBody::new(&mut self.parts.incoming, &mut self.parts.out, limit)
    }

    /// Sends the answer. One that would make no proper head becomes a 500: with more than
    /// [`Answer::HEAD_MAX`], without a status or content type, with line breaks in these or the policy,
    /// or with fields of which the last has no line end.
    ///
    /// # Errors
    ///
    /// A [`Disconnect`] if it could not be completed: the peer has as long as for one frame.
    /// Nothing more can be sent then, so pass it on.
    ///
    /// # Cancel safety
    ///
    /// None: a part of the answer may have been sent.
    pub async fn answer(self, answer: &Answer<'_>) -> Result<Answered, Disconnect<W::Error>> {
        const IMPROPER: Answer<'_> = Answer {
            status: "500 Internal Server Error",
            body: b"the answer has no proper head\n",
            ..Answer::PLAIN
        };
        self.parts.out.answer(if answer.is_proper() { answer } else { &IMPROPER }).await?;
        Ok(Answered(()))
    }
}
