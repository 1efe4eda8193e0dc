//! What a 32-bit firmware weighs, and the sizes of what its symbol table names.

use crate::check::Problem;
use std::{fs, path::Path};

/// A little-endian ELF32 file (System V ABI, chapters 4 and 5), as far as is asked here.
pub(crate) struct Elf {
    bytes: Vec<u8>,
    sections: Vec<Section>,
}

struct Section {
    name: String,
    kind: u32,
    flags: u32,
    address: usize,
    offset: usize,
    size: usize,
    link: usize,
}

const SYMBOLS: u32 = 2;
const NO_BITS: u32 = 8;
const ALLOCATED: u32 = 2;

impl Elf {
    pub(crate) fn read(path: &Path) -> Result<Self, Problem> {
        let bytes = fs::read(path)?;
        Self::parse(bytes).ok_or_else(|| Problem::failed(format!("{path:?} is no ELF32 file")))
    }

    fn parse(bytes: Vec<u8>) -> Option<Self> {
        if !bytes.starts_with(b"\x7fELF\x01\x01") {
            return None;
        }
        let table = word(&bytes, 32)?;
        let [each, count, names] = [46, 48, 50].map(|at| half(&bytes, at));
        let header = |number: usize| {
            let at = table + number * each?;
            let field = |n: usize| word(&bytes, at + 4 * n);
            let (name, kind, flags) = (field(0)?, field(1)? as u32, field(2)? as u32);
            let section = Section {
                name: String::new(),
                kind,
                flags,
                address: field(3)?,
                offset: field(4)?,
                size: field(5)?,
                link: field(6)?,
            };
            Some((name, section))
        };
        let names = header(names?)?.1.offset;
        let sections = (0..count?)
            .map(|number| {
                let (name, section) = header(number)?;
                Some(Section { name: text(&bytes, names + name)?, ..section })
            })
            .collect::<Option<_>>()?;
        Some(Self { bytes, sections })
    }

    /// Bytes that the chip's flash holds: code, constants, and what variables begin with.
    pub(crate) fn flash(&self) -> usize {
        self.kept().map(|section| section.size).sum()
    }

    /// What the flash holds, as words.
    pub(crate) fn words(&self) -> impl Iterator<Item = usize> {
        let places = |s: &Section| (s.offset..s.offset + s.size).step_by(4);
        self.kept().flat_map(places).filter_map(|at| word(&self.bytes, at))
    }

    /// What the flash holds for so many bytes from an address on.
    pub(crate) fn at(&self, address: usize, length: usize) -> Option<&[u8]> {
        self.kept().find_map(|section| {
            let from = address.checked_sub(section.address)?;
            let to = from.checked_add(length).filter(|&to| to <= section.size)?;
            self.bytes.get(section.offset + from..section.offset + to)
        })
    }

    fn kept(&self) -> impl Iterator<Item = &Section> {
        self.sections.iter().filter(|s| s.flags & ALLOCATED != 0 && s.kind != NO_BITS)
    }

    /// Bytes of RAM that variables take.
    pub(crate) fn static_ram(&self) -> usize {
        let is_variable = |s: &&Section| s.name.starts_with(".data") || s.name.starts_with(".bss");
        self.sections.iter().filter(is_variable).map(|section| section.size).sum()
    }

    /// The size of what the symbol `name` stands for.
    pub(crate) fn size_of(&self, name: &str) -> Option<usize> {
        let table = self.sections.iter().find(|section| section.kind == SYMBOLS)?;
        let names = self.sections.get(table.link)?.offset;
        (table.offset..table.offset + table.size).step_by(16).find_map(|at| {
            let found = text(&self.bytes, names + word(&self.bytes, at)?)? == name;
            found.then(|| word(&self.bytes, at + 8))?
        })
    }
}

fn half(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?).into())
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize)
}

fn text(bytes: &[u8], at: usize) -> Option<String> {
    let text = bytes.get(at..)?.split(|&byte| byte == 0).next()?;
    Some(String::from_utf8_lossy(text).into_owned())
}
