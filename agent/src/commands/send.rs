//! `conclave send`: a file or stdin to the group, a line or a piece at a time.

use std::io;
use std::path::PathBuf;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{Stream, TryStreamExt, stream};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt, BufReader};
use tokio_util::codec::{Decoder, FramedRead};

use crate::client::Client;
use crate::control::Sent;
use crate::failure::Failure;
use crate::output::{self, Output};
use crate::spoken;

type Source = Box<dyn AsyncRead + Send + Unpin>;

pub(super) async fn send(
    client: &Client,
    output: Output,
    file: Option<PathBuf>,
    chunk: Option<u16>,
) -> Result<(), Failure> {
    let source: Source = match &file {
        Some(path) => Box::new(
            File::open(path)
                .await
                .map_err(|error| Failure::Failed(format!("cannot read {}: {error}", path.display())))?,
        ),
        None => Box::new(tokio::io::stdin()),
    };
    let sent: Sent = match chunk {
        Some(size) => client.upload("/v1/send", framed(pieces(source, usize::from(size)))).await?,
        None => client.upload("/v1/send", framed(FramedRead::new(source, Lines { number: 0 }))).await?,
    };
    if output.json {
        return Output::json(&sent);
    }
    output::line(&format!(
        "sent {} messages, {} bytes",
        spoken::count(sent.packets),
        spoken::count(sent.bytes)
    ))
}

/// Each payload behind its length, as the daemon reads them.
fn framed(
    payloads: impl Stream<Item = io::Result<BytesMut>> + Send + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    payloads.map_ok(|payload| {
        let mut frame = BytesMut::with_capacity(4 + payload.len());
        frame.put_u32(u32::try_from(payload.len()).expect("invariant: a payload fits a datagram"));
        frame.put_slice(&payload);
        frame.freeze()
    })
}

/// Pieces of `size` bytes; the last may be shorter.
fn pieces(source: Source, size: usize) -> impl Stream<Item = io::Result<BytesMut>> + Send + 'static {
    stream::try_unfold(BufReader::new(source), move |mut source| async move {
        let mut piece = BytesMut::with_capacity(size);
        while piece.len() < size {
            let room = (size - piece.len()) as u64;
            if (&mut source).take(room).read_buf(&mut piece).await? == 0 {
                break;
            }
        }
        Ok((!piece.is_empty()).then_some((piece, source)))
    })
}

/// Lines of bytes, without their ends (`\n` or `\r\n`). One that does not fit a message is an error that names it.
struct Lines {
    number: u64,
}

impl Lines {
    fn fits(&self, line: BytesMut) -> io::Result<Option<BytesMut>> {
        if line.len() <= data::MAX_PAYLOAD {
            return Ok(Some(line));
        }
        let (number, len, max) = (self.number, line.len(), data::MAX_PAYLOAD);
        Err(io::Error::other(format!("line {number} has {len} bytes or more, {max} fit; use --chunk")))
    }
}

impl Decoder for Lines {
    type Item = BytesMut;
    type Error = io::Error;

    fn decode(&mut self, bytes: &mut BytesMut) -> io::Result<Option<BytesMut>> {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            // With the carriage return that may still be cut off.
            if bytes.len() > data::MAX_PAYLOAD + 1 {
                self.number += 1;
                return self.fits(bytes.split());
            }
            return Ok(None);
        };
        self.number += 1;
        let mut line = bytes.split_to(end + 1);
        line.truncate(end);
        if line.ends_with(b"\r") {
            line.truncate(end - 1);
        }
        self.fits(line)
    }

    fn decode_eof(&mut self, bytes: &mut BytesMut) -> io::Result<Option<BytesMut>> {
        match self.decode(bytes)? {
            Some(line) => Ok(Some(line)),
            None if bytes.is_empty() => Ok(None),
            None => {
                self.number += 1;
                self.fits(bytes.split())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(text: &'static [u8]) -> io::Result<Vec<BytesMut>> {
        FramedRead::new(text, Lines { number: 0 }).try_collect().await
    }

    #[tokio::test]
    async fn a_message_is_a_line_without_its_end() {
        assert_eq!(lines(b"one\r\n\ntwo\nlast").await.unwrap(), [&b"one"[..], b"", b"two", b"last"]);
        assert!(lines(b"").await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_line_that_fits_no_message_is_named() {
        const LONG: [u8; data::MAX_PAYLOAD + 3] = [b'x'; data::MAX_PAYLOAD + 3];
        static TEXT: &[&[u8]] = &[b"short\n", &LONG];
        let text = Box::leak(TEXT.concat().into_boxed_slice());
        assert!(lines(text).await.unwrap_err().to_string().starts_with("line 2 has "));
    }

    #[tokio::test]
    async fn pieces_are_full_but_for_the_last() {
        let source: Source = Box::new(&b"abcdefgh"[..]);
        let pieces: Vec<BytesMut> = pieces(source, 3).try_collect().await.unwrap();
        assert_eq!(pieces, [&b"abc"[..], b"def", b"gh"]);
    }
}
