use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::codec::{Decoder, Encoder, Framed, LengthDelimitedCodec};

use super::TlsStream;

/// Longest frame, in bytes: a grant with its rosters and revocations is a few thousand. A longer one ends the
/// connection, before room is made for it.
pub const MAX_FRAME: usize = 64 * 1_024;

/// A connection as a stream and sink of whole frames. Errors are the stream's; `InvalidData` is a frame too long.
pub type Frames<S = TlsStream> = Framed<S, FrameCodec>;

/// Frames on a stream: a length of 32 bits, big-endian, then as many bytes, at most [`MAX_FRAME`].
#[derive(Debug)]
pub struct FrameCodec(LengthDelimitedCodec);

/// Cuts a connection into frames.
///
/// Closing the sink sends what is buffered and TLS's own farewell; dropping it does neither.
pub fn frames<S: AsyncRead + AsyncWrite>(stream: S) -> Frames<S> {
    let lengths = LengthDelimitedCodec::builder()
        .big_endian()
        .length_field_length(4)
        .max_frame_length(MAX_FRAME)
        .new_codec();
    Framed::new(stream, FrameCodec(lengths))
}

impl Decoder for FrameCodec {
    type Item = BytesMut;
    type Error = io::Error;

    fn decode(&mut self, received: &mut BytesMut) -> io::Result<Option<BytesMut>> {
        self.0.decode(received)
    }
}

impl Encoder<Bytes> for FrameCodec {
    type Error = io::Error;

    fn encode(&mut self, frame: Bytes, to_send: &mut BytesMut) -> io::Result<()> {
        self.0.encode(frame, to_send)
    }
}
