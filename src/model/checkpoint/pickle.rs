//! Checks a pickle before anything reads it: which Python names does it use?
//!
//! A pickle is a program. Python runs it, so a checkpoint can do anything on the machine that loads it with Python. The reader
//! in `pytorch.rs` runs nothing, but it skips what it does not know. So this check allows only the opcodes and names that
//! `torch.save` writes for a table of tensors. Format: CPython's `pickletools.py`, protocol 2. Must not know: containers, tensors.

use crate::error::{Error, Result};

/// Python names that a table of tensors is made of, by module.
const NAMES: &[(&str, &[&str])] = &[
    ("collections", &["OrderedDict"]),
    ("torch._utils", &["_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_parameter"]),
    (
        "torch",
        &[
            "FloatStorage",
            "HalfStorage",
            "BFloat16Storage",
            "DoubleStorage",
            "LongStorage",
            "IntStorage",
            "ShortStorage",
            "CharStorage",
            "ByteStorage",
            "BoolStorage",
            "float32",
            "float16",
            "bfloat16",
            "float64",
            "int64",
            "int32",
            "int16",
            "int8",
            "uint8",
            "bool",
        ],
    ),
    ("torch.storage", &["UntypedStorage"]),
];

/// Walks `count` pickles that follow each other.
///
/// # Errors
/// One of them ends too early, or holds a name or an opcode that no table of tensors needs; the name is in the message.
pub(in crate::model) fn check(bytes: &[u8], count: usize) -> Result<()> {
    let mut cursor = Cursor { rest: bytes };
    for _ in 0..count {
        cursor.pickle()?;
    }
    Ok(())
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// One pickle, up to its STOP.
    fn pickle(&mut self) -> Result<()> {
        loop {
            let [opcode] = self.array()?;
            let skipped = match opcode {
                b'.' => return Ok(()),
                // empty and built containers, marks, None, True, False, REDUCE, BUILD, BINPERSID
                b'}'
                | b']'
                | b')'
                | b'('
                | b'N'
                | b'R'
                | b'b'
                | b'Q'
                | b's'
                | b'u'
                | b'a'
                | b'e'
                | b't'
                | b'l'
                | b'd'
                | 0x85..=0x89 => 0,
                0x80 => {
                    let [protocol] = self.array()?;
                    if protocol > 3 {
                        return Err(again(format!("its pickle has protocol {protocol}; 2 is what torch.save writes")));
                    }
                    0
                }
                // BININT1, BINPUT, BINGET
                b'K' | b'q' | b'h' => 1,
                // BININT2
                b'M' => 2,
                // BININT, LONG_BINPUT, LONG_BINGET
                b'J' | b'r' | b'j' => 4,
                // BINFLOAT
                b'G' => 8,
                // SHORT_BINSTRING, LONG1; BINUNICODE, BINSTRING
                b'U' | 0x8a => usize::from(u8::from_le_bytes(self.array()?)),
                b'X' | b'T' => usize::try_from(u32::from_le_bytes(self.array()?)).unwrap_or(usize::MAX),
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    let known = NAMES.iter().any(|(known, names)| {
                        known.as_bytes() == module && names.iter().any(|known| known.as_bytes() == name)
                    });
                    if !known {
                        return Err(stranger(module, name));
                    }
                    0
                }
                other => {
                    let message = format!("its pickle has the opcode 0x{other:02x}, which no table of tensors needs");
                    return Err(again(message));
                }
            };
            self.take(skipped)?;
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(cut)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| Error::fault("a slice of the wrong length"))
    }

    fn line(&mut self) -> Result<&'a [u8]> {
        let end = self.rest.iter().position(|byte| *byte == b'\n').ok_or_else(cut)?;
        let line = self.take(end + 1)?;
        Ok(line.get(..end).unwrap_or_default())
    }
}

fn again(message: String) -> Error {
    Error::user(message).hint("load it with torch and save its tensors again, preferably as safetensors")
}

fn cut() -> Error {
    Error::user("its pickle is truncated or malformed")
}

fn stranger(module: &[u8], name: &[u8]) -> Error {
    let short = |bytes: &[u8]| -> String {
        let text = String::from_utf8_lossy(bytes);
        text.chars().take(60).flat_map(char::escape_debug).collect()
    };
    Error::user(format!("it calls for {}.{}, which is no part of a plain tensor", short(module), short(name)))
        .hint("nothing of it was run; get the weights from a source that you trust, preferably as safetensors")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(pickle: &[u8]) -> String {
        check(pickle, 1).unwrap_err().message().to_owned()
    }

    #[test]
    fn names_beside_tensors_are_told_and_what_ends_early_is_not_read_on() {
        check(b"\x80\x02}q\x00.", 1).unwrap();
        check(b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01.", 1).unwrap();
        assert_eq!(
            message(b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00ls\x85R."),
            "it calls for posix.system, which is no part of a plain tensor"
        );
        // A known name of another module is another name.
        assert_eq!(message(b"cos\nOrderedDict\n."), "it calls for os.OrderedDict, which is no part of a plain tensor");
        assert_eq!(
            message(b"ctorch\nload\x1b[2J\n."),
            "it calls for torch.load\\u{1b}[2J, which is no part of a plain tensor"
        );
        // STACK_GLOBAL, EXT1, INST and the persistent id of protocol 0: names that are not where a name is looked for.
        for opcode in [0x93, 0x82, b'i', b'P', b'o', 0x81, 0x92] {
            assert!(message(&[0x80, 2, opcode, b'.']).contains(&format!("opcode 0x{opcode:02x}")));
        }
        for cut in [&b""[..], b"\x80", b"\x80\x02", b"cposix\n", b"X\xff\xff\xff\xffab.", b"\x8a\x09aaaa."] {
            assert_eq!(message(cut), "its pickle is truncated or malformed");
        }
        check(b"K\x01.K\x02.", 2).unwrap();
        assert!(check(b"K\x01.K\x02.", 3).is_err());
    }
}
