//! Bytes on the socket: a length (`u32`, little endian), then that many bytes of JSON.
//!
//! A pod's namespace descriptor travels as `SCM_RIGHTS` with the first byte of the frame that needs it, so
//! a reader takes the first bytes of every request with `recvmsg`. Replies come in the order of requests.

use std::fmt;

/// The largest body of a frame: a status report of a full node is a tenth of it.
pub const MAX_BODY: usize = 256 * 1024;
/// The length in front of a body.
pub const HEADER: usize = 4;
/// How many bytes a decoder keeps: one frame of the largest size and one more that has begun.
const MAX_BUFFERED: usize = 2 * (HEADER + MAX_BODY);

/// Bytes that cannot be a frame. The connection is of no further use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The body is longer than [`MAX_BODY`].
    Oversized {
        /// Its length, as far as it is known.
        length: usize,
    },
    /// The peer sends on without waiting for frames to be taken.
    Flooded,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Oversized { length } => {
                write!(f, "a frame of {length} bytes exceeds the limit of {MAX_BODY}")
            }
            FrameError::Flooded => write!(f, "more than {MAX_BUFFERED} bytes wait to be read"),
        }
    }
}

impl std::error::Error for FrameError {}

/// A body with its length in front.
pub fn encode(body: &[u8]) -> Result<Vec<u8>, FrameError> {
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= MAX_BODY);
    let length = length.ok_or(FrameError::Oversized { length: body.len() })?;
    let mut frame = Vec::with_capacity(HEADER + body.len());
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(body);
    Ok(frame)
}

/// Collects bytes as they arrive and gives out whole bodies; serves blocking and async readers alike.
///
/// Holds at most two of the largest frames. An error is final: every later call repeats it.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    buffer: Vec<u8>,
    broken: Option<FrameError>,
}

impl FrameDecoder {
    /// Takes over bytes that were read; refuses a peer that sends faster than frames are taken.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), FrameError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        if self.buffer.len().saturating_add(bytes.len()) > MAX_BUFFERED {
            return Err(self.fail(FrameError::Flooded));
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// The next whole body, or `None` until more bytes are pushed.
    pub fn next_body(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let Some((header, rest)) = self.buffer.split_first_chunk::<HEADER>() else { return Ok(None) };
        let length = u32::from_le_bytes(*header) as usize;
        if length > MAX_BODY {
            return Err(self.fail(FrameError::Oversized { length }));
        }
        let Some(body) = rest.get(..length).map(<[u8]>::to_vec) else { return Ok(None) };
        self.buffer.drain(..HEADER + length);
        Ok(Some(body))
    }

    /// Whether the stream may end here: no frame has begun.
    pub fn is_between_frames(&self) -> bool {
        self.buffer.is_empty()
    }

    fn fail(&mut self, error: FrameError) -> FrameError {
        self.buffer = Vec::new();
        self.broken = Some(error);
        error
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bodies_of(decoder: &mut FrameDecoder) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| decoder.next_body().unwrap()).collect()
    }

    proptest! {
        #[test]
        fn frames_survive_any_split(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
            cuts in prop::collection::vec(1usize..64, 1..32),
        ) {
            let stream: Vec<u8> = bodies.iter().flat_map(|body| encode(body).unwrap()).collect();
            let mut decoder = FrameDecoder::default();
            let (mut seen, mut rest, mut cuts) = (Vec::new(), &stream[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (chunk, tail) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                decoder.push(chunk).unwrap();
                seen.extend(bodies_of(&mut decoder));
                rest = tail;
            }
            prop_assert!(decoder.is_between_frames());
            prop_assert_eq!(seen, bodies);
        }

        #[test]
        fn garbage_never_panics_nor_grows(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4096), 0..64)) {
            let mut decoder = FrameDecoder::default();
            for chunk in chunks {
                let _ = decoder.push(&chunk);
                while let Ok(Some(body)) = decoder.next_body() {
                    prop_assert!(body.len() <= MAX_BODY);
                }
                prop_assert!(decoder.buffer.len() <= MAX_BUFFERED);
            }
        }
    }

    #[test]
    fn oversized_frames_are_refused_from_their_header_alone_and_for_good() {
        let mut decoder = FrameDecoder::default();
        let length = MAX_BODY as u32 + 1;
        decoder.push(&length.to_le_bytes()).unwrap();
        let refused = Err(FrameError::Oversized { length: MAX_BODY + 1 });
        assert_eq!(decoder.next_body(), refused);
        assert_eq!(decoder.next_body(), refused);
        assert!(decoder.push(b"x").is_err());
        assert!(encode(&vec![0; MAX_BODY + 1]).is_err());
        assert!(encode(&vec![0; MAX_BODY]).is_ok());
    }

    #[test]
    fn a_peer_that_never_stops_sending_is_cut_off() {
        let mut decoder = FrameDecoder::default();
        let chunk = encode(&vec![b' '; MAX_BODY]).unwrap();
        assert!(decoder.push(&chunk).is_ok());
        assert!(decoder.push(&chunk).is_ok());
        assert_eq!(decoder.push(b"x"), Err(FrameError::Flooded));
    }
}
