// A stand-in for the part of esp-idf-svc that the guide uses, over a computer's sockets: the
// same names, bounds and behaviour. esp-idf-svc itself can be built for a chip only.

pub mod sys {
    #[derive(Debug)]
    pub struct EspError;
}

pub mod io {
    #[derive(Debug)]
    pub struct EspIOError(pub super::sys::EspError);

    impl From<super::sys::EspError> for EspIOError {
        fn from(error: super::sys::EspError) -> Self {
            Self(error)
        }
    }

    impl embedded_svc::io::Error for EspIOError {
        fn kind(&self) -> embedded_svc::io::ErrorKind {
            embedded_svc::io::ErrorKind::Other
        }
    }

    impl std::fmt::Display for EspIOError {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("it failed")
        }
    }

    impl std::error::Error for EspIOError {}
}

pub mod http {
    pub use embedded_svc::http::Method;

    pub mod server {
        use super::super::{io::EspIOError, sys::EspError};
        pub use embedded_svc::http::server::{Connection, Request};
        use embedded_svc::http::{Headers, Method, Query};
        use embedded_svc::io::{ErrorType, Read, Write};
        use std::fmt::Debug;
        use std::io::{BufRead, BufReader};
        use std::net::{SocketAddr, TcpListener, TcpStream};

        #[derive(Default)]
        pub struct Configuration {
            pub http_port: u16,
            pub ctrl_port: u16,
            pub max_open_sockets: usize,
            pub stack_size: usize,
        }

        type Route = (String, Box<dyn for<'r> Fn(&mut EspHttpConnection<'r>) + Send>);

        pub struct EspHttpServer<'a> {
            routes: Vec<Route>,
            _user: std::marker::PhantomData<&'a ()>,
        }

        impl EspHttpServer<'static> {
            pub fn new(_: &Configuration) -> Result<Self, EspIOError> {
                Ok(Self { routes: Vec::new(), _user: std::marker::PhantomData })
            }

            pub fn fn_handler<E, F>(
                &mut self,
                uri: &str,
                _: Method,
                f: F,
            ) -> Result<&mut Self, EspError>
            where
                F: for<'r> Fn(Request<&mut EspHttpConnection<'r>>) -> Result<(), E>
                    + Send
                    + 'static,
                E: Debug,
            {
                let handle = move |connection: &mut EspHttpConnection<'_>| {
                    if f(Request::wrap(&mut *connection)).is_ok() {
                        let _ = connection.chunk(&[]);
                    }
                };
                self.routes.push((uri.to_owned(), Box::new(handle)));
                Ok(self)
            }

            /// One request after another, as ESP-IDF's does.
            pub fn run(self) -> SocketAddr {
                let door = TcpListener::bind("127.0.0.1:0").unwrap();
                let address = door.local_addr().unwrap();
                std::thread::spawn(move || {
                    for socket in door.incoming() {
                        let socket = &socket.unwrap();
                        let mut lines = BufReader::new(socket).lines();
                        let line = lines.next().unwrap().unwrap();
                        while !lines.next().unwrap().unwrap().is_empty() {}
                        let uri = line.split(' ').nth(1).unwrap().to_owned();
                        let path = uri.split('?').next().unwrap();
                        let (_, handle) = self.routes.iter().find(|(uri, _)| uri == path).unwrap();
                        let version = line.split(' ').nth(2).unwrap().to_owned();
                        let chunked = version == "HTTP/1.1";
                        handle(&mut EspHttpConnection { socket, uri, chunked, begun: false });
                    }
                });
                address
            }
        }

        pub struct EspHttpConnection<'r> {
            socket: &'r TcpStream,
            uri: String,
            chunked: bool,
            begun: bool,
        }

        impl EspHttpConnection<'_> {
            fn chunk(&mut self, bytes: &[u8]) -> Result<(), EspIOError> {
                let send = |bytes: &[u8]| {
                    std::io::Write::write_all(&mut { self.socket }, bytes)
                        .map_err(|_| EspIOError(EspError))
                };
                if !self.chunked {
                    return send(bytes);
                }
                send(format!("{:x}\r\n", bytes.len()).as_bytes())?;
                send(bytes)?;
                send(b"\r\n")
            }
        }

        impl ErrorType for EspHttpConnection<'_> {
            type Error = EspIOError;
        }

        impl Read for EspHttpConnection<'_> {
            fn read(&mut self, _: &mut [u8]) -> Result<usize, EspIOError> {
                Ok(0)
            }
        }

        impl Write for EspHttpConnection<'_> {
            fn write(&mut self, bytes: &[u8]) -> Result<usize, EspIOError> {
                assert!(self.begun && !bytes.is_empty(), "an empty chunk is the end");
                self.chunk(bytes)?;
                Ok(bytes.len())
            }

            fn flush(&mut self) -> Result<(), EspIOError> {
                Ok(())
            }
        }

        impl Headers for EspHttpConnection<'_> {
            fn header(&self, _: &str) -> Option<&str> {
                None
            }
        }

        impl Query for EspHttpConnection<'_> {
            fn uri(&self) -> &str {
                &self.uri
            }

            fn method(&self) -> Method {
                Method::Get
            }
        }

        impl<'b> Connection for EspHttpConnection<'b> {
            type Headers = Self;
            type Read = Self;
            type RawConnectionError = EspIOError;
            type RawConnection = Self;

            fn split(&mut self) -> (&Self, &mut Self) {
                unimplemented!("nobody reads")
            }

            fn initiate_response<'a>(
                &'a mut self,
                status: u16,
                _: Option<&'a str>,
                fields: &'a [(&'a str, &'a str)],
            ) -> Result<(), EspIOError> {
                let mut head = format!("HTTP/1.1 {status} \r\n");
                for (name, value) in fields {
                    head += &format!("{name}: {value}\r\n");
                }
                head += if self.chunked { "Transfer-Encoding: chunked\r\n\r\n" } else { "\r\n" };
                self.begun = true;
                std::io::Write::write_all(&mut self.socket, head.as_bytes())
                    .map_err(|_| EspIOError(EspError))
            }

            fn is_response_initiated(&self) -> bool {
                self.begun
            }

            fn raw_connection(&mut self) -> Result<&mut Self, EspIOError> {
                Ok(self)
            }
        }
    }
}
