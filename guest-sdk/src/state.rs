//! What a strategy remembers: bytes that the host hands from one answer to the next question.
//!
//! ```
//! use enid_guest::State;
//!
//! #[derive(Debug, Default, PartialEq, State)]
//! #[state(version = 1)]
//! struct Memory {
//!     /// Pods at the last question.
//!     pods: u32,
//!     /// The busiest moments so far.
//!     peaks: Vec<Peak>,
//! }
//!
//! #[derive(Debug, Default, PartialEq, State)]
//! #[state(version = 1)]
//! struct Peak {
//!     at_ms: u64,
//!     pods: u32,
//! }
//!
//! let memory = Memory { pods: 7, peaks: vec![Peak { at_ms: 10_000, pods: 9 }] };
//! assert_eq!(Memory::decode(&memory.encode()), Some(memory));
//! assert_eq!(Memory::decode(b"from something else"), None);
//! ```

pub use enid_guest_derive::State;

/// Bytes of state that the host keeps.
pub const MAX_BYTES: usize = 16 << 10;

/// The memory of a strategy: derived for a struct.
///
/// Every decision runs in a fresh instance, so this is the only memory there is. State that does not decode
/// (another version, a first decision) is the default state; a strategy never fails because of it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the state of a strategy",
    note = "write `#[derive(Default, State)]` and `#[state(version = 1)]` on `{Self}`, or use `()`"
)]
pub trait State: Default + StateType {
    /// The version of its layout; 0 is no state at all. The host drops state of another format.
    const FORMAT: u32;

    /// The state as bytes, the same for the same state; the host keeps [`MAX_BYTES`].
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    /// The state from bytes that this version encoded, all of them.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        Self::read(&mut rest).filter(|_| rest.is_empty())
    }
}

/// A type that state is made of: integers (little endian), `bool`, `Option`, arrays, `Vec` and derived structs.
///
/// A derived struct starts with its version, in two bytes, wherever it stands: a changed part that kept the
/// version of the whole is noticed too.
#[diagnostic::on_unimplemented(
    message = "state cannot hold `{Self}`",
    note = "it holds integers, bool, Option, arrays, Vec and structs that derive State too"
)]
pub trait StateType: Sized {
    /// Appends the value.
    fn write(&self, out: &mut Vec<u8>);
    /// Takes the value from the front of the bytes; `None` when there is none.
    fn read(bytes: &mut &[u8]) -> Option<Self>;
}

macro_rules! integer {
    ($($ty:ty),*) => {$(
        impl StateType for $ty {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend(self.to_le_bytes());
            }

            fn read(bytes: &mut &[u8]) -> Option<Self> {
                let (number, rest) = bytes.split_first_chunk()?;
                *bytes = rest;
                Some(<$ty>::from_le_bytes(*number))
            }
        }
    )*};
}
integer!(u8, u16, u32, u64, i8, i16, i32, i64);

impl StateType for bool {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        match u8::read(bytes)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl<T: StateType> StateType for Option<T> {
    fn write(&self, out: &mut Vec<u8>) {
        self.is_some().write(out);
        if let Some(value) = self {
            value.write(out);
        }
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        if bool::read(bytes)? { T::read(bytes).map(Some) } else { Some(None) }
    }
}

impl<T: StateType, const N: usize> StateType for [T; N] {
    fn write(&self, out: &mut Vec<u8>) {
        for value in self {
            value.write(out);
        }
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let values: Option<Vec<T>> = (0..N).map(|_| T::read(bytes)).collect();
        values?.try_into().ok()
    }
}

/// Its length first, in two bytes: more values than that never fit into the state.
impl<T: StateType> StateType for Vec<T> {
    fn write(&self, out: &mut Vec<u8>) {
        // Values without bytes would make a length that nothing bounds.
        const { assert!(size_of::<T>() > 0, "a Vec in state holds values of at least a byte") };
        u16::try_from(self.len()).unwrap_or(u16::MAX).write(out);
        for value in self {
            value.write(out);
        }
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let len = u16::read(bytes)?;
        (0..len).map(|_| T::read(bytes)).collect()
    }
}

/// No memory.
impl StateType for () {
    fn write(&self, _: &mut Vec<u8>) {}

    fn read(_: &mut &[u8]) -> Option<Self> {
        Some(())
    }
}

/// No memory.
impl State for () {
    const FORMAT: u32 = 0;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug, Default, PartialEq, State)]
    #[state(version = 258)]
    struct Memory {
        level: i16,
        marks: [u32; 2],
        warm: bool,
        last: Option<u64>,
        peaks: Vec<Peak>,
    }

    #[derive(Clone, Debug, Default, PartialEq, State)]
    #[state(version = 3)]
    struct Peak {
        pods: u8,
    }

    /// `Memory` as a later version of the strategy has it.
    #[derive(Clone, Debug, Default, PartialEq, State)]
    #[state(version = 259)]
    struct LaterMemory {
        level: i16,
        marks: [u32; 2],
        warm: bool,
        last: Option<u64>,
        peaks: Vec<Peak>,
    }

    /// `Memory` with a part of another version.
    #[derive(Clone, Debug, Default, PartialEq, State)]
    #[state(version = 258)]
    struct MemoryOfOthers {
        level: i16,
        marks: [u32; 2],
        warm: bool,
        last: Option<u64>,
        peaks: Vec<LaterPeak>,
    }

    #[derive(Clone, Debug, Default, PartialEq, State)]
    #[state(version = 4)]
    struct LaterPeak {
        pods: i8,
    }

    fn memory() -> Memory {
        Memory {
            level: -2,
            marks: [1, 0x0102_0304],
            warm: true,
            last: Some(5),
            peaks: vec![Peak { pods: 6 }],
        }
    }

    #[test]
    fn state_is_little_endian_behind_its_version() {
        let expected: &[u8] = &[
            2, 1, // version 258
            0xfe, 0xff, // level
            1, 0, 0, 0, 4, 3, 2, 1, // marks
            1, // warm
            1, 5, 0, 0, 0, 0, 0, 0, 0, // last
            1, 0, 3, 0, 6, // one peak, of version 3
        ];
        assert_eq!(memory().encode(), expected);
        assert_eq!(Memory::FORMAT, 258);
    }

    #[test]
    fn state_of_another_version_is_no_state() {
        assert_eq!(LaterMemory::decode(&memory().encode()), None);
        assert_eq!(MemoryOfOthers::decode(&memory().encode()), None);
        let without_parts = Memory { peaks: Vec::new(), ..memory() };
        assert!(MemoryOfOthers::decode(&without_parts.encode()).is_some());
    }

    #[test]
    fn state_of_another_length_is_no_state() {
        let bytes = memory().encode();
        for len in 0..bytes.len() {
            assert_eq!(Memory::decode(&bytes[..len]), None, "{len}");
        }
        assert_eq!(Memory::decode(&[bytes.as_slice(), &[0]].concat()), None);
    }

    #[test]
    fn no_memory_is_no_bytes() {
        assert_eq!((<()>::FORMAT, ().encode()), (0, Vec::new()));
        assert_eq!(<()>::decode(&[1]), None);
    }

    proptest! {
        #[test]
        fn what_is_remembered_comes_back(
            level: i16, marks: [u32; 2], warm: bool, last: Option<u64>, pods in proptest::collection::vec(any::<u8>(), 0..50),
        ) {
            let memory = Memory { level, marks, warm, last, peaks: pods.into_iter().map(|pods| Peak { pods }).collect() };
            prop_assert_eq!(Memory::decode(&memory.encode()), Some(memory));
        }

        #[test]
        fn whatever_decodes_encodes_to_the_same_bytes(
            bytes in proptest::collection::vec(prop_oneof![0..4u8, any::<u8>()], 0..60),
        ) {
            let bytes = [&[2, 1], bytes.as_slice()].concat();
            if let Some(memory) = Memory::decode(&bytes) {
                prop_assert_eq!(memory.encode(), bytes);
            }
        }
    }
}
